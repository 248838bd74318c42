"""Raw lines of foreign log files, the first step of an import: each line has an id and a time."""

import codecs
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from loop.hashing import sha256_of
from loop.intake.wire import MAX_EVENT_BYTES

START = datetime(2026, 1, 1, tzinfo=UTC)
# One byte more than an event may have, so that a line that was cut is still refused as too large.
_KEPT_BYTES = MAX_EVENT_BYTES + 1
# A text ends at the end of its line even without a closing quote, so a damaged element does not hide the next one.
# The possessive *+ keeps no positions to come back to, which in a long text would take time and memory.
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a JSONL file, or one element of a JSON array."""

    raw: bytes
    line_id: str
    """Beginning of the sha256 of `raw`, so that the same line has the same ids in every file."""
    file: str
    position: int
    """Number of the line or element, from 1."""
    start: datetime
    """Time of line 0, for formats without times."""
    secret: str
    """Key of the HMAC by which users become pseudonyms."""

    @property
    def occurred_at(self) -> datetime:
        """Time of the line: `start` plus one second per line, so that equal files make equal snapshots."""
        return self.start + timedelta(seconds=self.position)

    @property
    def observed_at(self) -> datetime:
        """Time of the line's feedback: one second after `occurred_at`."""
        return self.occurred_at + timedelta(seconds=1)


def line(raw: bytes, *, file: str, position: int, start: datetime, secret: str) -> Line:
    """A line with the id that follows from its content."""
    line_id = sha256_of(raw)[:32]
    return Line(raw=raw, line_id=line_id, file=file, position=position, start=start, secret=secret)


def lines(file: BinaryIO, kept: int = _KEPT_BYTES) -> Iterator[bytes]:
    """Every line of `file` without its line end, cut after `kept` bytes."""
    while raw := file.readline(kept):
        rest = raw
        # The rest of a line that is too long is read in pieces, so that no line can fill the memory.
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(kept)
        yield raw.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")


def elements(file: BinaryIO) -> Iterator[bytes]:
    """Every element of the JSON array in `file`.

    Elements are found by their brackets alone, so that a bad one does not end the reading. A file that does not begin
    with a bracket is read as lines.
    """
    head = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    file.seek(0)
    if not head.startswith(b"["):
        yield from lines(file)
        return
    # Mapped, because an array may be larger than the memory and a regular expression needs it as one text.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        for start, end in _bounds(text):
            yield text[start : min(end, start + _KEPT_BYTES)].strip()


def _bounds(text: mmap.mmap) -> Iterator[tuple[int, int]]:
    depth, start = 0, text.find(b"[") + 1
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if depth == 1 and mark in {b",", b"]"}:
            yield start, token.start()
            start = token.end()
        depth += (mark in {b"[", b"{"}) - (mark in {b"]", b"}"})
    # What follows the last element: nothing but white space, or the rest of an array that ends too early.
    yield start, len(text)
