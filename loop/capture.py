"""Always on: event log -> store, exactly once; what cannot be parsed becomes a dead letter, never a stop."""

from collections import Counter
from dataclasses import dataclass, replace

from loop.errors import EventError, FencedError
from loop.events import dead_letter, decode
from loop.ports import Batch, Entry, EventLog, Parsed, Partition, Store
from loop.types import DeadLetter, Event, Feedback, Interaction

MAX_FENCES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What one capture read, and how many of it the store had not seen before."""

    interactions: int = 0
    feedback: int = 0
    dead_letters: int = 0
    new_rows: int = 0


def parse(batch: Batch) -> Parsed:
    """The events of `batch` by kind, in order; what does not decode, or was sent as a dead letter, is one."""
    events = [_event(batch.partition, entry) for entry in batch.entries]
    return Parsed(
        batch=batch,
        interactions=tuple(event for event in events if isinstance(event, Interaction)),
        feedback=tuple(event for event in events if isinstance(event, Feedback)),
        dead_letters=tuple(event for event in events if isinstance(event, DeadLetter)),
    )


def capture(log: EventLog, store: Store, *, batch_size: int = 2000) -> Captured:
    """Store everything in `log` that is not stored yet; returns when caught up.

    A fenced partition is read again from the stored position. Raises FencedError when one partition is fenced more
    than MAX_FENCES times in a row.
    """
    for partition in log.partitions():
        log.seek(partition, store.position(partition))
    captured, fences = Captured(), Counter[Partition]()
    while batches := log.poll(batch_size):
        for batch in batches:
            parsed = parse(batch)
            try:
                new_rows = store.ingest(parsed)
            except FencedError:
                fences[batch.partition] += 1
                if fences[batch.partition] > MAX_FENCES:
                    raise
                _seek_stored(log, store, batch.partition)
            else:
                fences[batch.partition] = 0
                captured = _add(captured, parsed, new_rows)
    return captured


def _event(partition: Partition, entry: Entry) -> Event:
    try:
        return decode(entry.payload)
    except EventError as error:
        return dead_letter(f"{partition.topic}/{partition.number}", entry.offset, error.what, entry.payload)


def _seek_stored(log: EventLog, store: Store, partition: Partition) -> None:
    if partition in log.partitions():  # a rebalance may have given it to the reader that fenced this one
        log.seek(partition, store.position(partition))


def _add(captured: Captured, parsed: Parsed, new_rows: int) -> Captured:
    return replace(
        captured,
        interactions=captured.interactions + len(parsed.interactions),
        feedback=captured.feedback + len(parsed.feedback),
        dead_letters=captured.dead_letters + len(parsed.dead_letters),
        new_rows=captured.new_rows + new_rows,
    )
