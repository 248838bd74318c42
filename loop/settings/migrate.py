"""Rewriting of a settings file of an earlier version: line by line, so that what its user wrote around keys stays."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from loop.errors import UsageError
from loop.settings.older import MOVED, Older, fate, translated

_HEADER = re.compile(r"^\s*\[\[?(?P<table>[^\[\]]+)\]\]?\s*(#.*)?$")
_KEY = re.compile(r"^\s*(?P<key>[A-Za-z0-9_-]+(\s*\.\s*[A-Za-z0-9_-]+)*)\s*=(?P<rest>.*)$")
_WRITTEN = re.compile(r"^# (One of \"|A whole number|A number|true or false\.)")
"""Line by which `init` has ended the comment of every key that can go: the values that it may have."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """A settings file in today's keys."""

    text: str
    older: tuple[Older, ...]
    """The keys of an earlier version that were in it; none where nothing had to be done."""


@dataclass(slots=True)
class _Draft:
    """The lines written so far."""

    lines: list[str] = field(default_factory=list)
    table: str = ""
    """Table of the next line."""
    comment: int = 0
    """Index of the first line of the comment right above the next line; the number of lines without one."""

    def drop_comment(self) -> None:
        """Take back the comment right above the next line, where `init` wrote it: it speaks of a key that goes."""
        if any(_WRITTEN.match(line) for line in self.lines[self.comment :]):
            del self.lines[self.comment :]


def migrated(text: str) -> Migrated:
    """The file `text` in today's keys. Raises UsageError, with what to do by hand, where that cannot be done safely."""
    wanted, older = _read(text)
    if not older:
        return Migrated(text, ())
    lines = text.splitlines()
    tables = {match["table"].strip() for line in lines if (match := _HEADER.match(line))}
    draft = _Draft()
    apart: dict[str, list[str]] = {}
    for line in lines:
        if match := _HEADER.match(line):
            draft.table = match["table"].strip()
        _add(draft, line, tables, apart)
        if not line.startswith("#"):
            draft.comment = len(draft.lines)
    written = "\n".join(_with(draft.lines, apart)) + ("\n" if text.endswith("\n") else "")
    # A file may be written in ways that lines do not show, such as inline tables: read again, it has to say the same.
    if _read_again(written) != (wanted, ()):
        raise UsageError(
            "the settings file is written in a way that cannot be rewritten safely",
            "do it by hand: " + "; ".join(each.said for each in older),
        )
    return Migrated(written, older)


def _read(text: str) -> tuple[dict[str, object], tuple[Older, ...]]:
    try:
        today, older = translated(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"the settings file is not TOML: {error}", "mend that first") from error
    return dict(today), older


def _read_again(text: str) -> tuple[dict[str, object], tuple[Older, ...]] | None:
    """Sections and older keys of a rewritten file; None for one that is no TOML any more."""
    try:
        return _read(text)
    except UsageError:
        return None


def _add(draft: _Draft, line: str, tables: set[str], apart: dict[str, list[str]]) -> None:
    """Add a line in today's keys to the draft, or to the lines `apart` that belong right below a table's header."""
    match = _KEY.match(line)
    key = _dotted(draft.table, match["key"]) if match else ""
    if not match or fate(key) is None:
        draft.lines.append(line)
        return
    if key not in MOVED:
        draft.drop_comment()
        return
    table, _, name = MOVED[key].rpartition(".")
    if table in tables and table != draft.table:
        apart.setdefault(table, []).append(f"{name} ={match['rest']}")
        draft.drop_comment()
        return
    # In its place, with a dotted name where today's key stands in a table of its own: `pair.beta` under [training].
    below = MOVED[key].removeprefix(f"{draft.table}.") if draft.table else MOVED[key]
    draft.lines.append(f"{below} ={match['rest']}")


def _dotted(table: str, key: str) -> str:
    name = ".".join(part.strip() for part in key.split("."))
    return f"{table}.{name}" if table else name


def _with(lines: Sequence[str], apart: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines, with those that stand apart right below the headers of their tables."""
    whole: list[str] = []
    for line in lines:
        whole.append(line)
        match = _HEADER.match(line)
        if match:
            whole += apart.get(match["table"].strip(), ())
    return whole
