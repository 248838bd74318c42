"""Suites of a night, from held-out examples: one superiority suite, two guards, one report suite."""

from collections.abc import Sequence

from evals.suites import answers, approved, formats, preference
from evals.suites.items import recent
from evals.task import Task
from loop.settings import EvaluationSettings
from loop.types import Example

NAMES = frozenset({"answers", "approved", "format", "preference", "implicit_reward"})
"""Names of the suites of every night."""


def held_out(
    dev: Sequence[Example], vault: Sequence[Example], settings: EvaluationSettings, max_pairs: int
) -> tuple[Task, ...]:
    """Every suite, on recent feedback of users whom no candidate was trained on.

    `max_pairs` is the most pairs of the suite that is only read; 0 for all.
    """
    judging = recent(vault, settings.window_days)
    # Dev users do not judge; a suite that is only read may use them as well.
    either = list(dev) + list(vault)
    return (
        answers.task(judging, settings),
        approved.task(judging, settings),
        formats.task(judging, settings),
        preference.task(recent(either, settings.window_days), settings, max_pairs),
    )
