"""Always on: event log -> store, exactly once; what cannot be parsed becomes a dead letter, never a stop.

Reading and parsing the next batch overlap with the transaction of the last one. The store's compare-and-set decides:
a batch that another process was faster with is dropped, and its partition is read again from the stored position.
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
from loop.ports import Batch, Entry, EventLog, Parsed, Partition, Store
from loop.types import DeadLetter, Event, Feedback, Interaction

MAX_FENCES = 10
PORTION_BYTES = 16 << 20
"""Of payloads parsed at once and stored in one transaction, about."""
SLOW_SECONDS = 5.0
"""A transaction that takes longer pauses the reading, so that nothing piles up and the log still hears from us."""
COLLECT_EVERY = 100_000
"""Objects made, a few batches' worth, between two looks for garbage."""
SWITCH_SECONDS = 0.0002
"""A thread that waits for Python's lock gets it after so long, instead of 5 ms."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One batch and what became of it."""

    parsed: Parsed
    new_rows: int = 0
    """Of its events, those the store had not seen before."""
    fenced: bool = False
    """Another process stored these entries first; nothing of the batch was written."""
    seconds: float = 0.0
    """Of its transaction, retries included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What one capture read, and how many of it the store had not seen before."""

    interactions: int = 0
    feedback: int = 0
    dead_letters: int = 0
    new_rows: int = 0


def capture(log: EventLog, store: Store, *, batch_size: int = 2000) -> Captured:
    """Store everything that is in `log` now; returns when this process, or others beside it, have done so.

    Raises FencedError when one partition is fenced more than MAX_FENCES times in a row, IntegrityError when one ends
    before what is stored of it.
    """
    ends, captured = log.ends(), Captured()
    stored = {partition: store.position(partition) for partition in ends}
    for partition, end in ends.items():
        require_reach(partition, stored[partition], end)
    with closing(steps(log, store, batch_size=batch_size)) as rounds:
        while any(stored[partition] < end for partition, end in ends.items()):
            step = next(rounds)
            if step is None or step.fenced:
                stored = {partition: store.position(partition) for partition in ends}
                continue
            captured = _add(captured, step)
            stored[step.parsed.batch.partition] = step.parsed.batch.next
    return captured


def steps(
    log: EventLog,
    store: Store,
    *,
    batch_size: int,
    patience: float = 0.0,
    letters: EventLog | None = None,
    stop: Flag | None = None,
) -> Generator[Step | None]:
    """Capture without end: a Step for each batch, None while there is nothing to tell. Close it to finish cleanly.

    Log and store may be away for `patience` seconds, or until `stop` is set: then UnreachableError is raised. Dead
    letters are also appended to the log `letters`.
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
                ingest = store.prepare(parsed)
                if ahead is not None:
                    yield (yield from _settled(ahead, log, lost, fences))
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
    for index, entry in enumerate(batch.entries[:-1]):
        size += len(entry.payload)
        if size >= PORTION_BYTES:
            yield Batch(batch.partition, start, entry.offset + 1, batch.entries[first : index + 1])
            start, first, size = entry.offset + 1, index + 1, 0
    yield Batch(batch.partition, start, batch.next, batch.entries[first:])


def parse(batch: Batch) -> Parsed:
    """The events of `batch` by kind, in order; what does not decode, or was sent as a dead letter, is one."""
    events = [_event(batch.partition, entry) for entry in batch.entries]
    return Parsed(
        batch=batch,
        interactions=tuple(event for event in events if isinstance(event, Interaction)),
        feedback=tuple(event for event in events if isinstance(event, Feedback)),
        dead_letters=tuple(event for event in events if isinstance(event, DeadLetter)),
    )


def require_reach(partition: Partition, position: int, end: int) -> None:
    """IntegrityError when a partition ends before the stored `position`."""
    if position > end:
        raise IntegrityError(
            f"{partition.topic}/{partition.number} ends at {end}, before the stored position {position}: "
            "the topic was made anew or lost what was stored",
            "use another topic name (log.topic), so that nothing of the new one is skipped",
        )


@contextmanager
def _tuned() -> Iterator[None]:
    """Python's garbage collector and lock, set for what capture does, and back.

    The collector would look through all that was imported and all events in the making, and find nothing. The writer
    needs the lock for an instant after each answer of the database, while the other thread parses.
    """
    threshold, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *threshold[1:])
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
    log: EventLog, store: Store, limit: int, lost: set[Partition], outage: Outage, *, wait: bool
) -> tuple[Batch, ...] | None:
    """What the log has next; None, some time later, when the log or the store is away."""
    try:
        _place(log, store, lost)
        batches = log.poll(limit, wait=wait)
    except UnreachableError as error:
        log.wait(outage.goes_on(error))
        return None
    outage.ends()
    return batches


def _place(log: EventLog, store: Store, lost: set[Partition]) -> None:
    """Partitions that are new or `lost` stand where the store says; one that does not answer has to wait."""
    for partition in {*log.unplaced(), *lost}:
        position = store.position(partition)
        try:
            log.seek(partition, position)
        except NotFoundError:  # taken away since
            lost.discard(partition)
        except UnreachableError as error:
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
    """The store has every dead letter: their topic, which is for others to watch, stops nothing."""
    try:
        letters.append([encode(fitting(letter)) for letter in found])
    except NightshiftError as error:
        logger.warning("%d dead letters are in the store alone: %s", len(found), error.what)


def _settled(
    ahead: Future[Step], log: EventLog, lost: set[Partition], fences: Counter[Partition]
) -> Generator[None, None, Step]:
    """Awaits the end of a transaction; a fenced partition is `lost`, and with it what was read of it since."""
    while wait([ahead], SLOW_SECONDS).not_done:
        log.wait(1.0)
        yield
    step = ahead.result()
    batch = step.parsed.batch
    if not step.fenced:
        fences[batch.partition] = 0
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
