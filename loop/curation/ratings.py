"""Ratings on any scale: each is measured against its user's habit; clear preferences become rankings and pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, pstdev

from loop.branches import spread
from loop.counts import Count
from loop.curation.draft import MOST_RANKED, Draft, draft, is_empty, joint, pair, ranked, verdict
from loop.curation.joined import Joined, cluster
from loop.types import Message, Objective

MIN_RATINGS = 3
"""Ratings from which on a user has a habit."""
MAX_RATING = 1e9
"""Largest rating that is usable: no scale reaches further, and sums of larger numbers would overflow."""
PAIR_GAP = 2.0
"""Difference from which two ratings of one user on one prompt are a preference."""


def convert_ratings(ratings: Iterable[Joined]) -> tuple[list[Draft], Counter[Count]]:
    """Drafts of ratings: a ranking or a pair where one user rated answers to one prompt far apart, else verdicts.

    A verdict is the z-score of the rating among its user's own. A user with fewer than three ratings, or with equal
    ones only, is measured against the midpoint of all ratings of the tenant, in units of half their range.
    """
    opinions = list(ratings)
    usable = [rating for rating in opinions if abs(_value(rating)) <= MAX_RATING]  # false for NaN, too
    # Lowest first, as `_compared` needs them; ids settle ties, whatever the order of arrival.
    usable.sort(key=lambda rating: (_value(rating), rating.feedback.feedback_id))
    by_tenant, by_account = defaultdict(list), defaultdict(list)
    for rating in usable:
        by_tenant[rating.feedback.tenant].append(_value(rating))
        by_account[rating.feedback.tenant, rating.account].append(rating)
    drafts = []
    for (tenant, _), own in by_account.items():
        compared, rest = _compared(own)
        values = [_value(rating) for rating in own]
        drafts += compared + [_verdict(rating, _score(_value(rating), values, by_tenant[tenant])) for rating in rest]
    # An average rating says neither better nor worse, as a weight of 0 does.
    weighty = [made for made in drafts if made.weight > 0]
    return weighty, Counter({Count.UNUSABLE: len(opinions) - len(usable), Count.NEUTRAL: len(drafts) - len(weighty)})


def _value(rating: Joined) -> float:
    return float("nan") if rating.feedback.value is None else rating.feedback.value


def _verdict(rating: Joined, score: float) -> Draft:
    return draft(rating, Objective.UNPAIRED, verdict(rating.interaction.response, score))


def _score(value: float, own: Sequence[float], everybody: Sequence[float]) -> float:
    """Distance of a rating from its user's habit, or where there is none from the middle of the tenant's scale."""
    if len(own) >= MIN_RATINGS and min(own) < max(own):
        return (value - fmean(own)) / pstdev(own)
    low, high = min(everybody), max(everybody)
    return (value - (low + high) / 2) / ((high - low) / 2) if low < high else 0.0


def _compared(ratings: Sequence[Joined]) -> tuple[list[Draft], list[Joined]]:
    """Rankings and pairs of one user's ratings (lowest first) of answers to one prompt, and the ratings left.

    A ranking takes as many as are far apart; of two the highest is paired with the lowest and so on inwards.
    """
    by_prompt = defaultdict(list)
    for rating in ratings:
        by_prompt[rating.interaction.messages].append(rating)
    compared: list[Draft] = []
    rest: list[Joined] = []
    for rated in by_prompt.values():
        while len(apart := _far_apart(rated)) > 2:
            chosen = spread(apart, MOST_RANKED)
            compared.append(_ranking(chosen))
            for rating in chosen:
                rated.remove(rating)
        while len(rated) > 1 and _is_preference(rated[-1], rated[0]):
            compared.append(_pair(rated.pop(), rated.pop(0)))
        rest += rated
    return compared, rest


def _far_apart(ratings: Sequence[Joined]) -> list[Joined]:
    """The longest list of ratings of one user's answers, highest first, each of them preferred to the next one."""
    found: list[Joined] = []
    said: set[Message] = set()
    for rating in reversed(ratings):
        answer = rating.interaction.response
        if is_empty(answer) or answer in said:
            continue
        # Answers to several users would be across splits more often than not; pairs of them are tried.
        if not found or (_is_preference(found[-1], rating) and _user(found[-1]) == _user(rating)):
            found.append(rating)
            said.add(answer)
    return found


def _user(rating: Joined) -> str:
    return cluster(rating.interaction)


def _is_preference(high: Joined, low: Joined) -> bool:
    return _value(high) - _value(low) >= PAIR_GAP and high.interaction.response != low.interaction.response


def _ranking(ratings: Sequence[Joined]) -> Draft:
    """The ranking of ratings, highest first: scores are 1 for the highest, -1 for the lowest, others in proportion."""
    low, high = _value(ratings[-1]), _value(ratings[0])
    scores = [2 * (_value(rating) - low) / (high - low) - 1 for rating in ratings]
    drafts = [draft(rating, Objective.UNPAIRED, verdict(rating.interaction.response, 1.0)) for rating in ratings]
    return ranked(drafts, scores)


def _pair(high: Joined, low: Joined) -> Draft:
    branches = pair(high.interaction.response, low.interaction.response)
    better, worse = draft(high, Objective.PAIR, branches), draft(low, Objective.PAIR, branches)
    return joint(better, (better, worse))
