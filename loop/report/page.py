"""A self-contained HTML page out of figures, tables and lists; every text is escaped."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot made by loop.report.plots."""

    title: str
    svg: str
    note: str = ""

    @property
    def markup(self) -> Markup:
        return Markup(self.svg)  # noqa: S704 - drawn by matplotlib, whose text elements are escaped


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values; `wide` is for long texts side by side."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """Names with their values, such as ids and commands."""

    title: str
    facts: Sequence[tuple[str, object]]
    note: str = ""


Block = Figure | Table | Facts


Tone = Literal["good", "bad", "unsure", "plain"]


def page(title: str, *, badge: str, tone: Tone, lead: str, blocks: Sequence[Block]) -> str:
    """The page as one HTML document without scripts, fonts or links to anywhere; `tone` colours the badge."""
    named = [(type(block).__name__, block) for block in blocks]
    return _template().render(title=title, badge=badge, tone=tone, lead=lead, blocks=named)


@cache
def _template() -> Template:
    folder = FileSystemLoader(Path(__file__).parent)
    return Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template("page.html")
