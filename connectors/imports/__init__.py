"""Imports of foreign logs as events, on their way into the event log: a pure decoder per format, dead letters."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from connectors.imports.formats import gsm8k, langfuse, openai_chat, otel, otlp, pairs, tau_bench, tensorzero
from connectors.imports.reading.lines import START, Line, elements, line, lines
from loop.errors import EventError, UsageError
from loop.intake.events import dead_letter, decode, encode, fitting
from loop.ports import Envelope
from loop.types import Event

Decoder = Callable[[Line], Iterable[Event]]
"""A function that gives the events in one line. Raises EventError for a line of another shape."""

Splitter = Callable[[BinaryIO], Iterator[bytes]]
"""A function that cuts a file into what is decoded at a time; lines, where no other is named."""


def _decode_nightshift(line: Line) -> tuple[Event]:
    return (decode(line.raw),)


decoders: Mapping[str, Decoder] = {
    "nightshift": _decode_nightshift,
    "openai-chat": openai_chat.decode,
    "pairs": pairs.decode,
    "gsm8k": gsm8k.decode_answers,
    "gsm8k-solutions": gsm8k.decode_solution,
    "tau-bench": tau_bench.decode,
    "otel": otel.decode,
    "langfuse": langfuse.decode,
    "tensorzero": tensorzero.decode,
}
splitters: Mapping[str, Splitter] = {"tau-bench": elements, "langfuse": elements, "otel": otlp.requests}


class Imported(NamedTuple):
    """An event of a file, and the same event as the log takes it."""

    event: Event
    envelope: Envelope


def read(path: Path, format_name: str, *, secret: str, start: datetime = START) -> Iterator[Event]:
    """The events in `path`, as `encoded` gives them."""
    return (each.event for each in encoded(path, format_name, secret=secret, start=start))


def encoded(path: Path, format_name: str, *, secret: str, start: datetime = START) -> Iterator[Imported]:
    """The events in `path` and their encodings, streamed; a bad line gives one dead letter and nothing else.

    Ids come from the content, so importing a file twice adds nothing. Lines without a time follow each other by one
    second, beginning at `start`. `secret` is the key of the users' pseudonyms. Raises UsageError for an unknown format
    and for an unreadable file.
    """
    # Checked here and not in the generator, so that the errors come with the call and not with the first event.
    if format_name not in decoders:
        raise UsageError(f"there is no format {format_name!r}", f"choose one of {', '.join(decoders)}")
    if not (path.is_file() and os.access(path, os.R_OK)):
        raise UsageError(f"{path} is not a readable file", "name an existing file")
    return _imported(path, format_name, secret, start)


def _imported(path: Path, format_name: str, secret: str, start: datetime) -> Iterator[Imported]:
    split = splitters.get(format_name, lines)
    # A file name may be no valid UTF-8, and an event with such a name could not be encoded.
    name = os.fsencode(path.name).decode(errors="replace")
    with path.open("rb") as file:
        for position, raw in enumerate(split(file), start=1):
            if raw.strip():
                source = line(raw, file=name, position=position, start=start, secret=secret)
                yield from _checked(decoders[format_name], source)


def _checked(decoder: Decoder, source: Line) -> list[Imported]:
    """The events of a line if all of them can be written to the log, else its dead letter."""
    try:
        # All before any is given, so that no half of a bad line is kept.
        return [Imported(event, encode(event)) for event in decoder(source)]
    except (EventError, OverflowError) as error:
        reason = error.what if isinstance(error, EventError) else "a time lies outside the years 1 to 9999"
        letter = fitting(dead_letter(source.file, source.position, reason, source.raw))
        return [Imported(letter, encode(letter))]
