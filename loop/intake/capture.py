"""Capture from the event log into the store, exactly once; events that cannot be parsed become dead letters.

The next batch is read and parsed while the last one is being stored. The store's compare-and-set on the offset decides
between two processes: the slower one drops its batch and reads the partition again from the stored position.
"""

import gc
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from threading import Event as Flag

import tenacity

from loop.errors import EventError, FencedError, IntegrityError, NightshiftError, NotFoundError, UnreachableError
from loop.intake.events import dead_letter, decode, encode, fitting
from loop.intake.outage import Outage, persist, retrying
from loop.ports import Batch, Entry, EventLog, EventStore, Parsed, Partition
from loop.types import DeadLetter, Event, Feedback, Interaction

MAX_FENCES = 10
"""Most times in a row that another process may be faster with one partition."""
PORTION_BYTES = 16 << 20
"""Bytes of payloads, about, that are parsed at once and stored in one transaction."""
SLOW_SECONDS = 5.0
"""A transaction that takes longer pauses the reading, so that nothing piles up and the log still hears from us."""
COLLECT_EVERY = 100_000
"""New objects, a few batches' worth, between two runs of the garbage collector."""
SWITCH_SECONDS = 0.0002
"""Time after which a waiting thread gets Python's lock, instead of the usual 5 ms."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One batch and the result of storing it."""

    parsed: Parsed
    new_rows: int = 0
    """Events of the batch that the store had not seen before."""
    fenced: bool = False
    """Another process stored these entries first, so nothing of the batch was written."""
    seconds: float = 0.0
    """Duration of the transaction, retries included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """Counts of the events that one capture read; `new_rows` are those the store had not seen before."""

    interactions: int = 0
    feedback: int = 0
    dead_letters: int = 0
    new_rows: int = 0


def capture(log: EventLog, store: EventStore, *, batch_size: int = 2000) -> Captured:
    """Store everything that is in `log` now; returns when this process and others beside it have done so.

    Raises FencedError when one partition is fenced more than MAX_FENCES times in a row, IntegrityError when a partition
    ends before its stored position.
    """
    ends, captured = log.ends(), Captured()
    stored = {partition: store.position(partition) for partition in ends}
    for partition, end in ends.items():
        require_reach(partition, stored[partition], end)
    # Closed, the generator ends its writer's thread and gives Python's collector back as it was.
    with closing(steps(log, store, batch_size=batch_size)) as rounds:
        while any(stored[partition] < end for partition, end in ends.items()):
            step = next(rounds)
            if step is None or step.fenced:
                # Partitions of other readers are stored by them: only the store knows how far they are.
                stored = {partition: store.position(partition) for partition in ends}
                continue
            captured = _add(captured, step)
            stored[step.parsed.batch.partition] = step.parsed.batch.next
    return captured


def steps(
    log: EventLog,
    store: EventStore,
    *,
    batch_size: int,
    patience: float = 0.0,
    letters: EventLog | None = None,
    stop: Flag | None = None,
) -> Generator[Step | None]:
    """Endless capture: yields a Step for each batch and None while nothing happens. Close it to finish cleanly.

    Raises UnreachableError when the log or the store does not answer for `patience` seconds, or not yet when `stop` is
    set. Dead letters are also appended to the log `letters`.
    """
    stop = stop or Flag()
    reading, writing = Outage(patience, stop), retrying(patience, stop)
    lost: set[Partition] = set()
    fences = Counter[Partition]()
    with _tuned(), ThreadPoolExecutor(1, "capture") as writer:
        ahead: Future[Step] | None = None
        while True:
            batches = _polled(log, store, batch_size, lost, reading, wait=ahead is None)
            if batches is None:
                yield None
                continue
            for parsed in map(parse, chain.from_iterable(map(portions, batches))):
                # Rows are prepared while the transaction before is under way: it needs the database, this does not.
                ingest = store.prepare(parsed)
                if ahead is not None:
                    yield (yield from _settled(ahead, log, lost, fences))
                # After a fence, the rest that was read of this partition starts where the store does not stand.
                stale = parsed.batch.partition in lost
                ahead = None if stale else writer.submit(_write, writing, ingest, letters, parsed)
            if batches:
                continue
            if ahead is None:
                yield None
            else:
                yield (yield from _settled(ahead, log, lost, fences))
                ahead = None


def portions(batch: Batch) -> Iterator[Batch]:
    """`batch` in pieces of about PORTION_BYTES, so that memory and transactions stay small when events are large."""
    start, first, size = batch.start, 0, 0
    # The last entry never ends a portion: the last portion ends at `batch.next`, which may lie behind a gap of offsets
    # (compaction, markers of transactions).
    for index, entry in enumerate(batch.entries[:-1]):
        size += len(entry.payload)
        if size >= PORTION_BYTES:
            yield Batch(batch.partition, start, entry.offset + 1, batch.entries[first : index + 1])
            start, first, size = entry.offset + 1, index + 1, 0
    yield Batch(batch.partition, start, batch.next, batch.entries[first:])


def parse(batch: Batch) -> Parsed:
    """The events of `batch` by kind, in order; payloads that do not decode are dead letters."""
    events = [_event(batch.partition, entry) for entry in batch.entries]
    return Parsed(
        batch=batch,
        interactions=tuple(event for event in events if isinstance(event, Interaction)),
        feedback=tuple(event for event in events if isinstance(event, Feedback)),
        dead_letters=tuple(event for event in events if isinstance(event, DeadLetter)),
    )


def require_reach(partition: Partition, position: int, end: int) -> None:
    """Raises IntegrityError when a partition ends before its stored `position`."""
    if position > end:
        raise IntegrityError(
            f"{partition.topic}/{partition.number} ends at {end}, before the stored position {position}: "
            "the topic was made anew or lost what was stored",
            "use another topic name (log.topic), so that nothing of the new one is skipped",
        )


@contextmanager
def _tuned() -> Iterator[None]:
    """Garbage collector and interpreter lock tuned for capture while the block runs, then as before.

    The collector would look through all imported modules and all events in the making, and find nothing. The writing
    thread needs the lock for an instant after each answer of the database, while the other thread parses.
    """
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    _, second, third = threshold
    gc.freeze()  # what is imported by now is no garbage: no collection looks through it
    gc.set_threshold(COLLECT_EVERY, second, third)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
        gc.unfreeze()


def _event(partition: Partition, entry: Entry) -> Event:
    try:
        return decode(entry.payload)
    except EventError as error:
        return dead_letter(f"{partition.topic}/{partition.number}", entry.offset, error.what, entry.payload)


def _polled(
    log: EventLog, store: EventStore, limit: int, lost: set[Partition], outage: Outage, *, wait: bool
) -> tuple[Batch, ...] | None:
    """The next batches of the log; None, after a pause, when the log or the store does not answer."""
    try:
        _place(log, store, lost)
        # It waits only while nothing is being stored, so that the end of a transaction is told at once.
        batches = log.poll(limit, wait=wait)
    except UnreachableError as error:
        log.wait(outage.goes_on(error))  # the log's own wait keeps the partitions, a sleep would lose them
        return None
    outage.ends()
    return batches


def _place(log: EventLog, store: EventStore, lost: set[Partition]) -> None:
    """Seek new and `lost` partitions to the stored position; one that does not answer is tried again later."""
    to_place = set(log.unplaced())
    to_place |= lost
    for partition in to_place:
        # The store's offset was written together with the rows, the log's own was not: only the first one counts.
        position = store.position(partition)
        try:
            log.seek(partition, position)
        except NotFoundError:  # taken away since
            lost.discard(partition)
        except UnreachableError as error:
            # Not raised: one partition without a leader must not stop the others.
            logger.warning("%s; trying again", error.what)
        else:
            lost.discard(partition)


def _write(writing: tenacity.Retrying, ingest: Callable[[], int], letters: EventLog | None, parsed: Parsed) -> Step:
    started = time.monotonic()
    if letters is not None and parsed.dead_letters:
        _send_on(letters, parsed.dead_letters)
    try:
        new_rows = persist(writing, ingest)
    except FencedError:
        return Step(parsed=parsed, fenced=True, seconds=time.monotonic() - started)
    return Step(parsed=parsed, new_rows=new_rows, seconds=time.monotonic() - started)


def _send_on(letters: EventLog, found: Sequence[DeadLetter]) -> None:
    """Append dead letters to their topic; a failure is only logged, because the store has them all."""
    try:
        letters.append([encode(fitting(letter)) for letter in found])
    except NightshiftError as error:
        logger.warning("%d dead letters are in the store alone: %s", len(found), error.what)


def _settled(
    ahead: Future[Step], log: EventLog, lost: set[Partition], fences: Counter[Partition]
) -> Generator[None, None, Step]:
    """Wait for the end of a transaction; a fenced partition is added to `lost`, to be read again."""
    while wait([ahead], SLOW_SECONDS).not_done:
        # A reader that says nothing for long loses its partitions, however slow the database is.
        log.wait(1.0)
        yield
    step = ahead.result()
    batch = step.parsed.batch
    if not step.fenced:
        fences[batch.partition] = 0  # only fences in a row mean that two readers share a partition
        log.acknowledge(batch.partition, batch.next)
        return step
    logger.warning("fenced: %s from %d on is stored already", batch.partition, batch.start)
    lost.add(batch.partition)
    fences[batch.partition] += 1
    if fences[batch.partition] > MAX_FENCES:
        raise FencedError(
            f"{MAX_FENCES} times in a row another process stored {batch.partition} before this one",
            "see that all captures into this store have one consumer group (log.group)",
        )
    return step


def _add(captured: Captured, step: Step) -> Captured:
    return replace(
        captured,
        interactions=captured.interactions + len(step.parsed.interactions),
        feedback=captured.feedback + len(step.parsed.feedback),
        dead_letters=captured.dead_letters + len(step.parsed.dead_letters),
        new_rows=captured.new_rows + step.new_rows,
    )
