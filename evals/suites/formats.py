"""Guard suite: answers must not get worse by the checks that the application itself states."""

from collections.abc import Sequence

from evals.scorers import verified
from evals.suites.items import greedy, items
from evals.task import Item, Task, generate
from loop.settings import EvaluationSettings
from loop.types import Example, SuiteRole


def task(vault: Sequence[Example], settings: EvaluationSettings) -> Task:
    """The suite: every prompt with a verifier, judged by its verifiers alone."""
    chosen = items(vault, _verifiable, settings.max_items)
    return Task("format", SuiteRole.GUARD, chosen, generate, verified, greedy(settings))


def _verifiable(item: Item) -> bool:
    return bool(item.verifiers)
