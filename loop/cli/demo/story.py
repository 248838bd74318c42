"""Results of the demo, day by day, as a table on the terminal and as one self-contained page."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evals import stats
from evals.worlds.helpdesk import Request
from loop.files import write_text
from loop.report import plots
from loop.report.outcomes import outcome, reasons
from loop.report.page import Block, Facts, Figure, Table, page
from loop.types import Decision, Feedback, Night, Verdict

ANSWERS_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Answers to fresh users and the world's own truth about them, which the loop never sees."""

    satisfied: tuple[bool, ...]
    harmful: tuple[bool, ...]
    answers: tuple[str, ...]

    @property
    def share(self) -> float:
        """Share of satisfied users."""
        return sum(self.satisfied) / len(self.satisfied)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A day: the version that served, the night, and what fresh users then think of champion and frozen base."""

    number: int
    served: int
    feedback: tuple[Feedback, ...]
    night: Night
    decision: Decision | None
    learnt: Mapping[str, int]
    """Number of examples trained on, by the kind of feedback they came from; empty for a night that was skipped."""
    champion: int
    fresh: Measured
    base: Measured
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """A wrong version promoted by hand, and how it was undone."""

    wrong: int
    champion: int
    measured: Measured
    restored: bool
    """Whether the champion's adapter is back, byte for byte."""
    seconds: float
    """Duration of the rollback command, start-up included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The whole demo."""

    seed: int
    folder: Path
    days: tuple[Day, ...]
    mistake: Mistake
    events: Mapping[int, str]
    """Names of the events at the desk, by day."""
    requests: tuple[Request, ...]
    drifted: tuple[str, ...]
    """Intents whose policy changed during the demo."""
    final: Measured
    base: Measured
    seconds: float

    @property
    def gain(self) -> tuple[float, float, float]:
        """Satisfaction of fresh users, last champion minus frozen base: mean and 95 % interval."""
        # Both answered the same requests, so the interval is that of paired differences.
        pairs = zip(self.final.satisfied, self.base.satisfied, strict=True)
        found = stats.estimate(np.array([float(now) - float(was) for now, was in pairs]), len(self.final.satisfied))
        return found.mean, found.low, found.high

    @property
    def recovered(self) -> tuple[int, int]:
        """Last fresh users who asked about a policy that had changed: number of satisfied ones, and of all."""
        pairs = zip(self.requests, self.final.satisfied, strict=True)
        affected = [satisfied for asked, satisfied in pairs if asked.intent.name in self.drifted]
        return sum(affected), len(affected)

    def figures(self) -> dict[str, object]:
        """The numbers, for --json."""
        mean, low, high = self.gain
        return {
            "satisfied": self.final.share,
            "base": self.base.share,
            "gain": mean,
            "gain_low": low,
            "gain_high": high,
            "recovered": self.recovered,
            "verdicts": [day.night.verdict or day.night.status for day in self.days],
            "by_night": [day.fresh.share for day in self.days],
            "mistake": self.mistake.measured.share,
            "rollback_restored": self.mistake.restored,
            "rollback_seconds": self.mistake.seconds,
            "seconds": self.seconds,
        }


HEADERS = ("day", "served", "feedback", "night", "champion", "satisfied", "base", "seconds")
WIDTHS = (3, 6, 8, 12, 8, 9, 4, 7)
"""Widths of the columns, fixed because each row is printed before the next is known."""
COLUMNS = 79
"""Longest line, for a terminal of 80 columns."""


def row(day: Day) -> tuple[str, ...]:
    """One day as the cells under HEADERS."""
    return (
        str(day.number),
        f"@{day.served}",
        str(len(day.feedback)),
        day.night.verdict or day.night.status.upper(),
        f"@{day.champion}",
        f"{day.fresh.share:.0%}",
        f"{day.base.share:.0%}",
        f"{sum(day.seconds.values()):.0f}",
    )


def aligned(cells: Sequence[str]) -> str:
    """One row of the table, each cell right-aligned in the width of its column."""
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))


def decided(number: int, decision: Decision) -> str:
    """The verdict of a night with its first figures, and the reasons against a promotion."""
    figures = [
        f"{test.name} {100 * test.effect:+z.1f} points [{100 * test.low:+z.1f}, {100 * test.high:+z.1f}] "
        f"by {test.clusters} users"
        for test in decision.tests
        if test.role == "superiority"
    ]
    against = () if decision.verdict is Verdict.PROMOTE else decision.reasons
    sentences: list[str] = [decision.verdict]
    sentences += figures[:1]
    return _wrapped(f"night {number}: {', '.join(sentences)}", *against)


def undecided(number: int, night: Night) -> str:
    """Why a night came to no decision, in the first sentence of its first reason."""
    why = [reason.partition(". ")[0] for reason in night.reasons[:1]]
    return _wrapped(f"night {number}: {night.status.upper()}", *why)


def _wrapped(first: str, *others: str) -> str:
    """Paragraphs wrapped for a terminal; all lines but the first are indented."""
    indent = "  "
    lines = textwrap.wrap(first, COLUMNS, subsequent_indent=indent)
    for other in others:
        lines += textwrap.wrap(other, COLUMNS, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def table(story: Story) -> str:
    """All days, aligned for a terminal."""
    rows: list[Sequence[str]] = [HEADERS]
    rows += [row(day) for day in story.days]
    return "\n".join(map(aligned, rows))


def summary(story: Story) -> str:
    """The end of the story in a few lines."""
    satisfied, affected = story.recovered
    mean, low, high = (100 * value for value in story.gain)
    mistake = story.mistake
    restored = "byte-identical" if mistake.restored else "NOT THE SAME"
    return (
        f"{len(story.requests)} fresh users: {story.final.share:.0%} satisfied, frozen base {story.base.share:.0%}\n"
        f"gain {mean:+.0f} points, 95 % interval {low:+.0f} to {high:+.0f}\n"
        f"of these, {affected} asked about what had changed ({' and '.join(story.drifted)}): "
        f"{satisfied} satisfied\n"
        f"wrong promotion of @{mistake.wrong}: {mistake.measured.share:.0%} satisfied; "
        f"rolled back to @{mistake.champion} in {mistake.seconds:.1f} s,\n"
        f"adapter {restored}\n"
        f"seed {story.seed}, {story.seconds / 60:.1f} minutes\n"
        f"look around: cd {story.folder} && nightshift history"
    )


def write_page(story: Story) -> Path:
    """Write the report of the demo beside the settings of its project folder."""
    path = story.folder / "report.html"
    restored = story.mistake.restored
    text = page(
        "A help desk that learns at night",
        badge=f"{100 * story.gain[0]:+.0f} points" if restored else "FAILED",
        tone="good" if restored and story.gain[1] > 0 else "bad",
        lead=summary(story),
        blocks=list(_blocks(story)),
    )
    write_text(path, text)
    return path


def _blocks(story: Story) -> Iterator[Block]:
    yield Figure("Fresh users satisfied after each night, %", _curve(story))
    yield Table("Nights", HEADERS, [row(day) for day in story.days])
    why = [(day.night.night_id, _sentences(reasons(day.night, day.decision))) for day in story.days]
    yield Table("Why", ("night", "decision"), why, "A night's own page has the figures of its tests.")
    kinds = Counter(feedback.kind for day in story.days for feedback in day.feedback)
    yield Figure("Feedback by kind", plots.bars(dict(kinds.most_common()), x="events"))
    signals = sorted({signal for day in story.days for signal in day.learnt})
    # Each signal gets a figure for every night, 0 where it gave none, so that the columns stack.
    learnt = {signal: _each_night(story, signal) for signal in signals}
    yield Figure("What was learnt from", plots.stacks(learnt, x="night", y="train examples"))
    yield _answers(story)
    nights = [(day.night.night_id, f"nights/{day.night.night_id}/report.html") for day in story.days]
    yield Facts("A page for every night", nights, f"below {story.folder}/.nightshift")


def _each_night(story: Story, signal: str) -> list[int]:
    """Number of examples that a signal gave in each night."""
    return [day.learnt.get(signal, 0) for day in story.days]


def _curve(story: Story) -> str:
    """Curves of satisfaction by day; the day after the last night has the wrong promotion and its rollback."""
    after = len(story.days) + 1
    champion: list[tuple[float, float]] = [(day.number, 100 * day.fresh.share) for day in story.days]
    # The rollback came on the day of the mistake, which half a step shows.
    champion += [(after, 100 * story.mistake.measured.share), (after + 0.5, 100 * story.final.share)]
    base = [(day.number, 100 * day.base.share) for day in story.days]
    marks = [outcome(day.night) for day in story.days]
    marks += ["wrong promotion", "rolled back"]
    return plots.nights({"champion": champion, "frozen base": base}, marks, story.events)


def _sentences(sentences: Sequence[str]) -> str:
    return " ".join(f"{each[0].upper()}{each[1:].rstrip('.')}." for each in sentences)


def _answers(story: Story) -> Block:
    shown = list(zip(story.requests, story.base.answers, story.final.answers, story.final.satisfied, strict=True))
    rows = [(asked.text, was, now, "yes" if good else "no") for asked, was, now, good in shown[:ANSWERS_SHOWN]]
    return Table("Answers before and after", ("asked", "frozen base", "champion", "satisfied"), rows, wide=True)
