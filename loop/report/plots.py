"""Plots of the report as HTML and SVG text: pure functions of the numbers that they show.

Bars and intervals are HTML, whose text keeps its size on a phone; curves are SVG in the page's own colours.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from io import StringIO
from itertools import cycle
from typing import TYPE_CHECKING

from markupsafe import Markup

from evals.wording import count, effect, passed, signed
from loop.types import TestResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GOOD, BAD, PLAIN, SOFT = "#1a7f4b", "#b3261e", "#2f5bd0", "#7f8796"
INK, FAINT, LINE, PAPER = "#1d2433", "#5b6475", "#e3e6ec", "#fefefe"
VARIABLES = {
    GOOD: "--good",
    BAD: "--bad",
    PLAIN: "--blue",
    SOFT: "--grey",
    INK: "--ink",
    FAINT: "--soft",
    LINE: "--line",
    PAPER: "--paper",
}
"""CSS variable of the page for each colour, so that plots are legible in light and dark."""
PARTS = (PLAIN, GOOD, "#c77f1a", BAD, SOFT)
MARKS = {"PROMOTE": ("o", GOOD), "rolled back": ("o", GOOD), "REJECT": ("X", BAD), "wrong promotion": ("X", BAD)}
"""Shape and colour of each mark on a night; any other mark is a grey square."""
HALO = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
"""Background of a label that stands on a line."""
EFFECT = Markup(
    "<div class='effect {}'><p><b>{}</b> <span>{}</span></p><div class='track'><i class='zero'></i>"
    "<i class='span' style='left:{}%;width:{}%'></i><i class='dot' style='left:{}%'></i></div></div>"
)
ENDS = Markup("<p class='scale'><span>{}</span><span>worse &larr; 0 &rarr; better</span><span>{}</span></p>")
BAR = Markup("<div class='bar'><span>{}</span><div class='track'><i style='width:{}%'></i></div><b>{}</b></div>")
CAPTION = Markup("<p class='scale'><span>{}</span></p>")
"""Markup whose gaps are filled with escaped text."""
WIDTH, PANEL = 7.0, 3.1
"""Widths in inches of 96 pixels: of a plot that scrolls on a phone, and of one that fits it."""


def effects(tests: Sequence[TestResult]) -> str:
    """Each test's effect with its 95 % interval around zero, on one scale."""
    # Where no user saw a difference all bounds are 0, and no scale could be made of them.
    reach = max((abs(bound) for test in tests for bound in (test.low, test.high)), default=0.0) or 1.0
    rows = Markup("").join(_effect(test, reach) for test in tests)
    worst, best = signed(-reach, reach)
    return str(rows + ENDS.format(worst, best))


def _effect(test: TestResult, reach: float) -> Markup:
    # Per cent of the track's width; 0 is in its middle.
    low, high, mean = (50 + 50 * value / reach for value in (test.low, test.high, test.effect))
    tone = "good" if test.passed else "bad"
    said = f"{passed(test)}, {count(test.clusters, 'user')}, {effect(test.effect, test.low, test.high)}"
    return EFFECT.format(tone, test.name, said, f"{low:.2f}", f"{high - low:.2f}", f"{mean:.2f}")


def bars(counts: Mapping[str, float], *, x: str) -> str:
    """Horizontal bars of `counts`, the first on top; `x` is the caption."""
    most = max(counts.values(), default=0) or 1  # empty counts have no longest bar to divide by
    rows = (BAR.format(name, f"{100 * size / most:.2f}", f"{size:,g}") for name, size in counts.items())
    return str(Markup("").join(rows) + CAPTION.format(x))


def curves(series: Mapping[str, Sequence[tuple[float, float]]], *, x: str) -> str:
    """One small panel per named series of (x, y) points."""
    panels = [_panel(name, points, x) for name, points in series.items()]
    return f"<div class='panels'>{''.join(panels)}</div>"


def _panel(name: str, points: Sequence[tuple[float, float]], x: str) -> str:
    figure, axes = _canvas(width=PANEL, height=2.1)
    axes.plot([point[0] for point in points], [point[1] for point in points], color=PLAIN)
    axes.set_title(name, loc="left", fontsize=11)
    axes.set_xlabel(x)
    axes.locator_params(nbins=4)
    return _svg(figure, f"{name} by {x}")


def nights(series: Mapping[str, Sequence[tuple[float, float]]], marks: Sequence[str], events: Mapping[int, str]) -> str:
    """Named curves by day, from 0 to 100, with a mark on each point of the first; events stand before their day."""
    figure, axes = _canvas(width=WIDTH, height=3.4)
    for before, event in events.items():
        axes.axvline(before - 0.5, color=SOFT, linewidth=1, linestyle=":")
        axes.annotate(event, (before - 0.5, 117), (4, 0), textcoords="offset points", fontsize=11, color=FAINT)
    for (name, points), color in zip(series.items(), (PLAIN, SOFT), strict=False):
        axes.plot([point[0] for point in points], [point[1] for point in points], color=color, label=name, linewidth=2)
    shown = next(iter(series.values()))
    for (night, share), mark in zip(shown, marks, strict=True):
        shape, color = MARKS.get(mark, ("s", SOFT))
        axes.plot(night, share, shape, color=color, markersize=10)
        axes.annotate(mark, (night, share), (0, 12), textcoords="offset points", ha="center", fontsize=11, bbox=HALO)
    axes.set_ylim(-4, 126)  # room above 100 for the labels of marks and events
    axes.set_yticks(range(0, 101, 20))
    axes.margins(x=0.1)
    axes.set_xticks([night for night, _ in shown if night == int(night)])
    axes.set_xlabel("day, each with its night")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(series))
    return _scrolling(_svg(figure, " and ".join(series)))


def stacks(counts: Mapping[str, Sequence[float]], *, x: str, y: str) -> str:
    """Stacked columns, numbered from 1; `counts` has the heights of each named part."""
    figure, axes = _canvas(width=WIDTH, height=2.6)
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
    return _scrolling(_svg(figure, f"{y} by {x}"))


def _scrolling(svg: str) -> str:
    """The plot in a box that scrolls, for one too wide for a phone."""
    return f"<div class='scroll' tabindex='0'>{svg}</div>"


def _canvas(width: float, height: float) -> "tuple[Figure, Axes]":
    figure = _figures()(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


@cache
def _figures() -> "type[Figure]":
    """The class of figures, after matplotlib is set to our style; imported late, because that takes a second."""
    # Figures without pyplot, which would keep each of them in memory until it is closed.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("svg")
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",  # text stays text, in the fonts of the page
            "svg.hashsalt": "nightshift",  # ids are random without it, and equal nights would differ in their bytes
            "font.family": "sans-serif",
            "font.size": 11,
            "text.color": INK,
            "axes.labelcolor": FAINT,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": SOFT,
            "axes.grid": True,
            "grid.color": LINE,
            "axes.axisbelow": True,
            "savefig.transparent": True,
        }
    )
    return Figure


def _svg(figure: "Figure", label: str) -> str:
    text = StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})  # no date, so that equal plots have equal bytes
    # Without the XML declaration and DOCTYPE, which do not belong inside a page.
    drawn = text.getvalue()[text.getvalue().index("<svg") :]
    for color, variable in VARIABLES.items():
        drawn = drawn.replace(color, f"var({variable})")
    return drawn.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(label), 1)
