"""Credit: which answers of an example are compared, on which side each stands, and how much the example counts.

It is assigned here, before the trainer: losses see log-probabilities, sides and weights, and no kind of feedback.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import fsum
from typing import assert_never

from loop.branches import weight_of
from loop.settings import EditSettings, TrainingSettings
from loop.settings.constants import CHOSEN_NLL, DESIRABLE_NLL
from loop.types import Example, FeedbackKind, Objective

LARGEST_CLASS_WEIGHT = 4.0
"""Largest factor on the weight of a class of thumbs, so that a few of the rarer kind do not dominate a training."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Credit of an example: all that it teaches, apart from its tokens."""

    objective: Objective
    """What the loss compares: answers with each other, one with the champion, or nothing."""
    scores: tuple[float, ...]
    """Score of each answer, best first. Of one answer the sign counts, of several the order: equal scores are not
    compared."""
    weight: float
    """Weight of the example's loss; 1 on average over all examples encoded together."""
    nll_share: float
    """Coefficient of the first answer's NLL in the loss."""

    @property
    def approved(self) -> bool:
        """Whether the first answer is a good one."""
        return self.scores[0] > 0


def assign(example: Example, settings: TrainingSettings) -> Credit:
    """The credit of `example` alone: one score for each answer that is trained on."""
    scores = tuple(branch.score for branch in example.branches)
    weight = weight_of(example.branches)
    match example.objective:
        case Objective.DEMONSTRATION:
            return Credit(Objective.DEMONSTRATION, scores, weight, 1.0)
        case Objective.UNPAIRED:
            return Credit(Objective.UNPAIRED, scores, weight, DESIRABLE_NLL if scores[0] > 0 else 0.0)
        case Objective.PAIR if example.signal is not FeedbackKind.EDIT:
            return Credit(Objective.PAIR, scores, weight, CHOSEN_NLL)
        case Objective.PAIR:
            return _of_edit(scores, weight, settings.edit)
        case Objective.RANKING:
            return Credit(Objective.RANKING, scores, weight, CHOSEN_NLL)
        case _:
            assert_never(example.objective)


def _of_edit(scores: tuple[float, ...], weight: float, settings: EditSettings) -> Credit:
    """The credit of an edit, which shows the wanted answer itself: its NLL counts like a demonstration's."""
    match settings.type:
        case "pair":
            return Credit(Objective.PAIR, scores, weight, 1.0)
        case "demonstration":
            return Credit(Objective.DEMONSTRATION, scores[:1], weight, 1.0)


def balance(assigned: Sequence[Credit]) -> tuple[Credit, ...]:
    """Credits with weights of 1 on average, in which approval and disapproval of single answers weigh the same."""
    factors = _class_factors(assigned)
    weights: list[float] = []
    for credit in assigned:
        factor = factors[credit.approved] if credit.objective is Objective.UNPAIRED else 1.0
        weights.append(credit.weight * factor)
    total = fsum(weights)
    balanced = zip(assigned, weights, strict=True)
    return tuple(replace(credit, weight=weight * len(assigned) / total) for credit, weight in balanced)


def _class_factors(assigned: Sequence[Credit]) -> dict[bool, float]:
    """Factors on the weights of approved single answers (True) and of the others (False)."""
    weights: dict[bool, list[float]] = {True: [], False: []}
    for credit in assigned:
        if credit.objective is Objective.UNPAIRED:
            weights[credit.approved].append(credit.weight)
    totals = {approved: fsum(each) for approved, each in weights.items()}
    # Of one class alone there is nothing to balance.
    if not all(totals.values()):
        return dict.fromkeys(totals, 1.0)
    both = fsum(totals.values())
    return {approved: min(LARGEST_CLASS_WEIGHT, both / (2 * total)) for approved, total in totals.items()}
