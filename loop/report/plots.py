"""The plots of the report, as SVG text: pure functions of the numbers they show."""

from collections.abc import Mapping, Sequence
from io import StringIO
from itertools import cycle

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loop.types import TestResult

mpl.use("svg")
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "nightshift",
        "font.family": "sans-serif",
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#9aa1ad",
        "axes.grid": True,
        "grid.color": "#eceef2",
        "axes.axisbelow": True,
    }
)

GOOD, BAD, PLAIN, SOFT = "#1a7f4b", "#b3261e", "#2f5bd0", "#9aa1ad"
PARTS = (PLAIN, GOOD, "#c77f1a", BAD, SOFT)
MARKS = {"PROMOTE": ("o", GOOD), "rolled back": ("o", GOOD), "REJECT": ("X", BAD), "wrong promotion": ("X", BAD)}
"""Shape and colour of what happened to a champion; anything else is a grey square."""
HALO = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
"""Behind a label that stands on a line."""


def effects(tests: Sequence[TestResult]) -> str:
    """Each test's effect with its 95 % interval around zero."""
    figure, axes = _canvas(height=0.9 + 0.42 * len(tests))
    for row, test in enumerate(reversed(tests)):
        color = GOOD if test.passed else BAD
        axes.plot([test.low, test.high], [row, row], color=color, linewidth=2.5, solid_capstyle="round")
        axes.plot(test.effect, row, "o", color=color, markersize=7)
    axes.axvline(0, color=SOFT, linewidth=1)
    axes.set_yticks(range(len(tests)), [f"{test.name} ({test.clusters} users)" for test in reversed(tests)])
    axes.set_ylim(-0.7, len(tests) - 0.3)
    axes.set_xlabel("candidate minus champion (mean score by user)")
    return _svg(figure)


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str) -> str:
    """One small panel per named series of (x, y) points."""
    figure = Figure(figsize=(10, 2.6), layout="constrained")
    panels = figure.subplots(1, max(len(series), 1), squeeze=False)[0]
    for axes, (name, points) in zip(panels, series.items(), strict=False):
        axes.plot([point[0] for point in points], [point[1] for point in points], color=PLAIN)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(x)
    return _svg(figure)


def nights(series: Mapping[str, Sequence[tuple[float, float]]], marks: Sequence[str], events: Mapping[int, str]) -> str:
    """Named curves by day, 0 to 100; each point of the first has a mark, and events stand before their day."""
    figure, axes = _canvas(height=4)
    for before, event in events.items():
        axes.axvline(before - 0.5, color=SOFT, linewidth=1, linestyle=":")
        axes.annotate(event, (before - 0.5, 103), (4, 0), textcoords="offset points", fontsize=8, color="#5b6475")
    for (name, points), color in zip(series.items(), (PLAIN, SOFT), strict=False):
        axes.plot([point[0] for point in points], [point[1] for point in points], color=color, label=name, linewidth=2)
    shown = next(iter(series.values()))
    for (night, share), mark in zip(shown, marks, strict=True):
        shape, color = MARKS.get(mark, ("s", SOFT))
        axes.plot(night, share, shape, color=color, markersize=10)
        axes.annotate(mark, (night, share), (0, 12), textcoords="offset points", ha="center", fontsize=8, bbox=HALO)
    axes.set_ylim(-4, 110)
    axes.set_xticks([night for night, _ in shown if night == int(night)])
    axes.set_xlabel("day, each with its night")
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, 0.92))
    return _svg(figure)


def stacks(counts: Mapping[str, Sequence[float]], *, x: str, y: str) -> str:
    """Stacked columns, numbered from 1: the heights of each named part."""
    figure, axes = _canvas(height=3)
    places = range(1, len(next(iter(counts.values()), ())) + 1)
    below = [0.0] * len(places)
    for (name, heights), color in zip(counts.items(), cycle(PARTS)):
        axes.bar(places, heights, bottom=below, label=name, color=color, width=0.6)
        below = [low + height for low, height in zip(below, heights, strict=True)]
    axes.set_xticks(places)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="x", visible=False)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def bars(counts: Mapping[str, float], *, x: str) -> str:
    """Horizontal bars, first on top."""
    figure, axes = _canvas(height=0.9 + 0.34 * len(counts))
    names = list(counts)[::-1]
    drawn = axes.barh(names, [counts[name] for name in names], color=PLAIN, height=0.6)
    axes.bar_label(drawn, padding=4, color="#5b6475")
    axes.set_xlabel(x)
    axes.grid(axis="y", visible=False)
    return _svg(figure)


def _canvas(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(10, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
