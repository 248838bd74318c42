"""Fourth step of curation: opinions on the same answer become one example, however many people gave one."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import fsum, log1p

from loop.curation.draft import Draft, order
from loop.types import Branch, Objective


def combine(drafts: Iterable[Draft]) -> tuple[list[Draft], Counter[str]]:
    """One draft per conversation, prompt, objective and answers.

    Every account has one vote, its strongest signal's. Where votes contradict each other the majority is kept, its
    weight multiplied by the margin (a - b) / (a + b) of the log-damped sums a = ln(1 + weights for) and
    b = ln(1 + weights against); ties are left out and counted.
    """
    questions = defaultdict(list)
    for draft in sorted(drafts, key=order):
        answers = frozenset(branch.response for branch in draft.branches)
        where = draft.interaction.tenant, draft.interaction.conversation_id
        questions[*where, draft.objective, draft.prompt, answers].append(draft)
    settled = [_settle(opinions) for opinions in questions.values()]
    kept = [draft for draft in settled if draft]
    merged = sum(map(len, questions.values())) - len(settled)
    return kept, Counter(merged=merged, tied=len(settled) - len(kept))


def _settle(opinions: Sequence[Draft]) -> Draft | None:
    """The majority's strongest draft, or None for a tie; opinions come strongest first."""
    votes: dict[str, Draft] = {}
    for opinion in opinions:
        votes.setdefault(opinion.account, opinion)
    sides: Mapping[object, list[Draft]] = defaultdict(list)
    for vote in votes.values():
        sides[_stance(vote)].append(vote)
    winners = max(sides.values(), key=_sum)
    pro, contra = log1p(_sum(winners)), log1p(_sum(votes.values()) - _sum(winners))
    if pro <= contra:
        return None
    margin = (pro - contra) / (pro + contra)
    weight = margin * max(vote.branches[0].weight for vote in winners)
    return replace(
        winners[0],
        branches=tuple(replace(branch, weight=weight) for branch in winners[0].branches),
        owners=frozenset[str]().union(*(opinion.owners for opinion in opinions)),
        observed_at=max(opinion.observed_at for opinion in opinions),
        event_ids=frozenset[str]().union(*(opinion.event_ids for opinion in opinions)),
    )


def _stance(draft: Draft) -> Branch | bool:
    """What a draft argues for: of a pair the better answer, else whether the answer is liked."""
    best = draft.branches[0]
    return replace(best, weight=1.0) if draft.objective is Objective.PAIR else best.desirable


def _sum(votes: Iterable[Draft]) -> float:
    return fsum(vote.branches[0].weight for vote in votes)
