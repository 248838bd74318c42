"""Superiority suite: fresh answers to held-out users' prompts, against verifiers and those users' wanted texts."""

from collections.abc import Sequence

from evals.scorers import graded
from evals.suites.items import greedy, items
from evals.task import Item, Task, generate
from loop.settings import EvaluationSettings
from loop.types import Example, SuiteRole, VerifierKind


def task(vault: Sequence[Example], settings: EvaluationSettings) -> Task:
    """The suite: every prompt with a reference, or with a verifier that knows the right answer.

    A prompt with checks of form alone (a pattern, a schema, a length) would give full marks to any well-formed answer
    and hide what users care about; such prompts belong to the `format` guard.

    Approved answers stay in: without them the suite would hold only prompts that the champion once failed at, where any
    other model looks better.
    """
    chosen = items(vault, _judgeable, settings.max_items)
    return Task("answers", SuiteRole.SUPERIORITY, chosen, generate, graded, greedy(settings))


def _judgeable(item: Item) -> bool:
    return bool(item.references) or any(_knows_the_answer(verifier.kind) for verifier in item.verifiers)


def _knows_the_answer(kind: VerifierKind) -> bool:
    """Whether verifiers of this kind know the right answer, not only its form."""
    match kind:
        case VerifierKind.EXACT | VerifierKind.NUMERIC:
            return True
        case VerifierKind.REGEX | VerifierKind.JSON_SCHEMA | VerifierKind.MAX_WORDS:
            return False
