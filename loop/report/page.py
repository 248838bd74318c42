"""A self-contained HTML page made of figures, tables, cards and lists; every text is escaped."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup, escape

from loop.report.glossary import GLOSSARY, fragment, pattern, term_of

if TYPE_CHECKING:
    from jinja2 import Template

Tone = Literal["good", "bad", "unsure", "plain"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot made by loop.report.plots."""

    title: str
    svg: str
    note: str = ""

    @property
    def markup(self) -> Markup:
        return Markup(self.svg)  # noqa: S704 - made by loop.report.plots, which escapes what it is given


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of plain values, each a card on a phone; `wide` is for long texts side by side, such as users' own words."""

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


@dataclass(frozen=True, slots=True)
class Sentences:
    """A list of sentences, with commands and settings between backticks."""

    title: str
    lines: Sequence[str]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Texts on one prompt, each with its name and tone."""

    title: str
    texts: Sequence[tuple[str, str, Tone]]


@dataclass(frozen=True, slots=True)
class Cards:
    """Cards, one for each prompt: users' own words, for people to read."""

    title: str
    cards: Sequence[Card]
    note: str = ""


Block = Figure | Table | Facts | Sentences | Cards


def page(title: str, *, badge: str, tone: Tone, lead: str, blocks: Sequence[Block]) -> str:
    """The page as one HTML document without scripts, fonts or outward links; `tone` colours the badge.

    A word of the glossary is linked, where it first occurs, to its entry at the foot of the page.
    """
    named = [(type(block).__name__, block) for block in blocks]
    entries = [(term, fragment(term), meaning) for term, meaning in GLOSSARY.items()]
    linked = _linker()
    return _template().render(
        title=title, badge=badge, tone=tone, lead=lead, blocks=named, glossary=entries, linked=linked, code=code
    )


def code(text: object, shown: Callable[[str], Markup] = escape) -> Markup:
    """`text` escaped, with the parts between backticks set as code; the parts outside are passed through `shown`."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:  # a backtick without its other half is no mark
        return shown(str(text))
    # Commands are not `shown`: a link inside one would be in the way of who copies it.
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else shown(part) for n, part in enumerate(parts)
    )


def _linker() -> Callable[[object], Markup]:
    """A function that links the words of the glossary in a text, each where the page first has it."""
    words, seen = pattern(), set[str]()  # of one page: each page links a word once

    def link(found: re.Match[str]) -> str:
        term = term_of(found.group())
        if term in seen:
            return found.group()
        seen.add(term)
        return f'<a class="term" href="#{fragment(term)}">{found.group()}</a>'

    def linked(part: str) -> Markup:
        return Markup(words.sub(link, escape(part)))  # noqa: S704 - escaped, and terms are our own

    return lambda text: code(text, linked)


@cache
def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader

    folder = FileSystemLoader(Path(__file__).parent)
    # Escaping is on for every value: blocks hold what users wrote, and only Markup passes as it is.
    return Environment(loader=folder, autoescape=True, trim_blocks=True, lstrip_blocks=True).get_template("page.html")
