"""Ratings on any scale: each is measured against its user's habit, and clear preferences become pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import fmean, pstdev

from loop.counts import Count
from loop.curation.draft import Draft, draft, pair, verdict
from loop.curation.joined import Joined
from loop.types import Objective

MIN_RATINGS = 3
"""Ratings from which on a user has a habit."""
MAX_RATING = 1e9
"""Largest rating that is usable: no scale reaches further, and sums of larger numbers would overflow."""
PAIR_GAP = 2.0
"""Difference from which two ratings of one user on one prompt are a preference."""


def convert_ratings(ratings: Iterable[Joined]) -> tuple[list[Draft], Counter[Count]]:
    """Drafts of ratings: a pair where one user rated two answers to one prompt far apart, else a verdict for each.

    A verdict is the z-score of the rating among its user's own. A user with fewer than three ratings, or with equal
    ones only, is measured against the midpoint of all ratings of the tenant, in units of half their range.
    """
    opinions = list(ratings)
    usable = [rating for rating in opinions if abs(_value(rating)) <= MAX_RATING]  # false for NaN, too
    # Lowest first, as `_pairs` needs them; ids settle ties, whatever the order of arrival.
    usable.sort(key=lambda rating: (_value(rating), rating.feedback.feedback_id))
    by_tenant, by_account = defaultdict(list), defaultdict(list)
    for rating in usable:
        by_tenant[rating.feedback.tenant].append(_value(rating))
        by_account[rating.feedback.tenant, rating.account].append(rating)
    drafts = []
    for (tenant, _), own in by_account.items():
        paired, rest = _pairs(own)
        values = [_value(rating) for rating in own]
        drafts += paired + [_verdict(rating, _score(_value(rating), values, by_tenant[tenant])) for rating in rest]
    # An average rating says neither better nor worse, as a weight of 0 does.
    told = [made for made in drafts if made.branches[0].weight > 0]
    return told, Counter({Count.UNUSABLE: len(opinions) - len(usable), Count.NEUTRAL: len(drafts) - len(told)})


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


def _pairs(ratings: Sequence[Joined]) -> tuple[list[Draft], list[Joined]]:
    """Pairs of one user's ratings (lowest first): highest with lowest and so on inwards; and the ratings left."""
    by_prompt = defaultdict(list)
    for rating in ratings:
        by_prompt[rating.interaction.messages].append(rating)
    pairs, rest = [], []
    for rated in by_prompt.values():
        while len(rated) > 1 and _is_preference(rated[-1], rated[0]):
            pairs.append(_pair(rated.pop(), rated.pop(0)))
        rest += rated
    return pairs, rest


def _is_preference(high: Joined, low: Joined) -> bool:
    return _value(high) - _value(low) >= PAIR_GAP and high.interaction.response != low.interaction.response


def _pair(high: Joined, low: Joined) -> Draft:
    branches = pair(high.interaction.response, low.interaction.response)
    better, worse = draft(high, Objective.PAIR, branches), draft(low, Objective.PAIR, branches)
    return replace(
        better,
        owners=better.owners | worse.owners,
        observed_at=max(better.observed_at, worse.observed_at),
        event_ids=better.event_ids | worse.event_ids,
    )
