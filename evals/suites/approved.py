"""Guard suite: answers must not drift away from those that held-out users approved of."""

from collections.abc import Sequence

from evals.scorers import similarity
from evals.suites.items import greedy, identity, items
from evals.task import Task, generate
from loop.settings import EvaluationSettings
from loop.types import Example, FeedbackKind, Objective, SuiteRole


def task(vault: Sequence[Example], settings: EvaluationSettings) -> Task:
    """The suite: similarity to answers with a thumb up or the like, without prompts that have contrary feedback."""
    # An approval that somebody contradicted does not say what has to stay.
    disputed = {identity(example) for example in vault if _contrary(example)}
    approvals = [example for example in vault if _approval(example) and identity(example) not in disputed]
    chosen = items(approvals, lambda item: bool(item.references), settings.max_items)
    return Task("approved", SuiteRole.GUARD, chosen, generate, similarity, greedy(settings))


def _contrary(example: Example) -> bool:
    return any(branch.score < 0 for branch in example.branches)


def _approval(example: Example) -> bool:
    return example.objective is Objective.UNPAIRED and _approves(example.signal) and example.branches[0].score > 0


def _approves(kind: FeedbackKind) -> bool:
    """Whether feedback of this kind can say that a user liked the answer as it is."""
    match kind:
        case FeedbackKind.THUMB | FeedbackKind.RATING | FeedbackKind.IMPLICIT:
            return True
        # What was measured is no user's taste, and the others say which answer is better or show one.
        case FeedbackKind.OUTCOME | FeedbackKind.COMPARISON | FeedbackKind.EDIT | FeedbackKind.DEMONSTRATION:
            return False
        case FeedbackKind.REGENERATE | FeedbackKind.COMMENT:
            return False
