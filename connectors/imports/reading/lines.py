"""Foreign log files, first step of an import: a file becomes raw lines, each with its id and its time."""

import codecs
import hashlib
import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from loop.intake.wire import MAX_EVENT_BYTES

START = datetime(2026, 1, 1, tzinfo=UTC)
_KEPT_BYTES = MAX_EVENT_BYTES + 1
_TOKEN = re.compile(rb'"(?:[^"\\\n]|\\.)*+"?|[\[\]{},]', re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a JSONL file, or one element of a JSON array."""

    raw: bytes
    line_id: str
    """sha256 of `raw`, so that the same line has the same ids in every file."""
    file: str
    position: int
    """Line or element number, from 1."""
    start: datetime
    """Time of line 0, for formats that know no times."""
    secret: str
    """Key of the HMAC that makes user pseudonyms."""

    @property
    def occurred_at(self) -> datetime:
        """`start` plus one second per line, so that equal files make equal snapshots."""
        return self.start + timedelta(seconds=self.position)

    @property
    def observed_at(self) -> datetime:
        """One second after `occurred_at`: when the feedback of this line came."""
        return self.occurred_at + timedelta(seconds=1)


def line(raw: bytes, *, file: str, position: int, start: datetime, secret: str) -> Line:
    """`raw` with the id that its content gives it."""
    line_id = hashlib.sha256(raw).hexdigest()[:32]
    return Line(raw=raw, line_id=line_id, file=file, position=position, start=start, secret=secret)


def lines(file: BinaryIO, kept: int = _KEPT_BYTES) -> Iterator[bytes]:
    """Every line of `file` without its end; a longer one than `kept`, a byte more than an event may have, is cut."""
    while raw := file.readline(kept):
        rest = raw
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(kept)
        yield raw.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")


def elements(file: BinaryIO) -> Iterator[bytes]:
    """Every element of the JSON array in `file`, cut by brackets alone so that a bad one does not end the reading.

    A file that does not begin with a bracket is read as lines.
    """
    head = file.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
    file.seek(0)
    if not head.startswith(b"["):
        yield from lines(file)
        return
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
    yield start, len(text)
