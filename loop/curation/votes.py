"""Fourth step of curation: all opinions on one answer become one draft, however many people gave one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum, log1p

from loop.counts import Count
from loop.curation.draft import Draft, joint
from loop.curation.kinds import STRENGTH
from loop.types import Branch, Message


def combine(drafts: Iterable[Draft]) -> tuple[list[Draft], Counter[Count]]:
    """One draft per conversation, prompt, objective and answers.

    Every account has one vote, that of its strongest signal. Where votes contradict each other the majority is kept and
    its weight multiplied by the margin (a - b) / (a + b) of the log-damped sums a = ln(1 + weights for) and
    b = ln(1 + weights against); ties are left out and counted.
    """
    questions = defaultdict(list)
    for draft in sorted(drafts, key=_strongest_first):
        # A set, so that comparisons stated from either side are about the same answers.
        answers = frozenset(branch.response for branch in draft.branches)
        asked = draft.interaction
        questions[asked.tenant, asked.conversation_id, draft.objective, draft.prompt, answers].append(draft)
    settled = [_settle(opinions) for opinions in questions.values()]
    kept = [draft for draft in settled if draft]
    merged = sum(map(len, questions.values())) - len(settled)
    return kept, Counter({Count.MERGED: merged, Count.TIED: len(settled) - len(kept)})


def _settle(opinions: Sequence[Draft]) -> Draft | None:
    """The majority's strongest draft, or None for a tie; opinions come strongest first."""
    votes: dict[str, Draft] = {}
    for opinion in opinions:
        votes.setdefault(opinion.account, opinion)  # the first is the strongest
    sides: Mapping[object, list[Draft]] = defaultdict(list)
    for vote in votes.values():
        sides[_stance(vote)].append(vote)
    winners = max(sides.values(), key=_sum)
    pro, contra = log1p(_sum(winners)), log1p(_sum(votes.values()) - _sum(winners))
    if pro <= contra:
        return None
    margin = (pro - contra) / (pro + contra)
    # The largest weight, not the sum: a hundred approvals weigh no more than one.
    weight = margin * max(vote.weight for vote in winners)
    # Also of the losing ones: an example names every event that it was made from.
    return replace(joint(winners[0], opinions), branches=_weighing(winners[0], weight))


def _strongest_first(draft: Draft) -> tuple[int, float, list[str]]:
    # The newest of equally strong ones; ids decide between equals.
    return STRENGTH.index(draft.signal), -draft.observed_at.timestamp(), sorted(draft.event_ids)


def _stance(draft: Draft) -> tuple[Message, ...] | bool:
    """Vote of a draft: the order of several answers, or whether a single one is liked."""
    if len(draft.branches) == 1:
        return draft.branches[0].score > 0
    return tuple(branch.response for branch in draft.branches)


def _weighing(draft: Draft, weight: float) -> tuple[Branch, ...]:
    """The branches of `draft`, their scores scaled so that its weight is `weight`."""
    # Divided first: the scores of a pair and of a verdict are then exactly the weight.
    return tuple(replace(branch, score=branch.score / draft.weight * weight) for branch in draft.branches)


def _sum(votes: Iterable[Draft]) -> float:
    # Exact, so that the order of the votes cannot decide a tie.
    return fsum(vote.weight for vote in votes)
