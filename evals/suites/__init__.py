"""Held-out examples become the suites of a night: one superiority suite, two guards, one to read."""

from collections.abc import Sequence

from evals.suites import answers, approved, formats, preference
from evals.suites.items import recent
from evals.task import Task
from loop.settings import EvaluationSettings
from loop.types import Example


def held_out(dev: Sequence[Example], vault: Sequence[Example], settings: EvaluationSettings) -> tuple[Task, ...]:
    """Every suite over recent feedback of users that no candidate was trained on."""
    judging = recent(vault, settings.window_days)
    return (
        answers.task(judging, settings),
        approved.task(judging, settings),
        formats.task(judging, settings),
        preference.task(recent([*dev, *vault], settings.window_days), settings),
    )
