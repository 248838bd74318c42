"""Log, store and ledger in memory, for tests of everything but databases and brokers."""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import TypeVar
from uuid import uuid4
from zlib import crc32

from loop.errors import FencedError, LeaseHeldError, NotFoundError, StaleChampionError
from loop.ports import Batch, Entry, Envelope, Holder, Parsed, Partition
from loop.promotion.ledger import follow, verify
from loop.types import (
    Candidate,
    DeadLetter,
    Decision,
    Event,
    Evidence,
    Feedback,
    Interaction,
    Night,
    Promotion,
    Snapshot,
)

Noun = TypeVar("Noun")


class MemoryLog:
    """An EventLog in memory; events with one key share a partition."""

    def __init__(self, topic: str = "events", partitions: int = 1) -> None:
        self.payloads: dict[Partition, list[bytes]] = {Partition(topic, n): [] for n in range(partitions)}
        self.stands_at = dict.fromkeys(self.payloads, 0)
        self.acknowledged: dict[Partition, int] = {}
        self.placed: set[Partition] = set()
        self.waited = 0.0

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Append each payload to the partition of its key."""
        partitions = self.partitions()
        for envelope in envelopes:
            # Not `hash`, which differs from one process to the next.
            number = crc32(envelope.key.encode()) % len(partitions)
            self.payloads[partitions[number]].append(envelope.payload)

    def partitions(self) -> tuple[Partition, ...]:
        """Every partition."""
        return tuple(self.payloads)

    def unplaced(self) -> tuple[Partition, ...]:
        """Partitions that were never sought."""
        return tuple(partition for partition in self.payloads if partition not in self.placed)

    def ends(self) -> Mapping[Partition, int]:
        """Offset that the next entry of each partition will get: the number of its payloads."""
        return {partition: len(payloads) for partition, payloads in self.payloads.items()}

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Keep the position that a service would show to its own tools, for tests to look at."""
        self.acknowledged[partition] = position

    def wait(self, seconds: float) -> None:
        """Add the seconds to `waited`; no time passes."""
        self.waited += seconds

    def close(self) -> None:
        """Nothing is done: this log has no partitions to give back."""

    def seek(self, partition: Partition, position: int) -> None:
        """The next poll of a partition starts at `position`. Raises NotFoundError for a partition of another log."""
        if partition not in self.payloads:
            raise NotFoundError(f"this log has no {partition}", f"read one of {self.partitions()}")
        self.stands_at[partition] = position
        self.placed.add(partition)

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:  # noqa: ARG002
        """At most `limit` entries of all partitions together, from the position of each."""
        batches = []
        for partition, payloads in self.payloads.items():
            start = self.stands_at[partition]
            taken = payloads[start : start + limit]
            # The limit is for all partitions together: those after this one get the rest of it.
            limit -= len(taken)
            if taken:
                self.stands_at[partition] = start + len(taken)
                entries = tuple(Entry(offset, payload) for offset, payload in enumerate(taken, start=start))
                batches.append(Batch(partition, start, start + len(taken), entries))
        return tuple(batches)


class MemoryStore:
    """A Store in memory; `ingested` holds every captured event with its ingestion sequence."""

    def __init__(self) -> None:
        self.offsets: dict[Partition, int] = {}
        self.last_sequence = 0
        self.ingested: dict[tuple[str, ...], tuple[int, Event]] = {}
        self.saved: dict[tuple[type, str], Night | Snapshot | Candidate | Evidence | Decision] = {}
        self.leases: set[str] = set()

    def position(self, partition: Partition) -> int:
        """The offset of a partition to read next; 0 for one that was never read."""
        return self.offsets.get(partition, 0)

    def ingest(self, parsed: Parsed) -> int:
        """Store the events of a batch and its new offset. Raises FencedError when it starts at another offset."""
        batch = parsed.batch
        # Before anything is written: another reader of the partition was faster, and its rows stand.
        if batch.start != self.position(batch.partition):
            raise FencedError(f"the offset is not {batch.start} any more", "read the stored position again")
        self.offsets[batch.partition] = batch.next
        before = len(self.ingested)
        # In the order of the database, which numbers the rows of a batch kind by kind.
        events: Iterable[Event] = chain(parsed.interactions, parsed.feedback, parsed.dead_letters)
        for event in events:
            # An event that was seen before uses a sequence up, but keeps its first one.
            self.last_sequence += 1
            self.ingested.setdefault(_identity(event), (self.last_sequence, event))
        return len(self.ingested) - before

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """`ingest` for a later call; here nothing can be prepared before."""
        return lambda: self.ingest(parsed)

    def watermark(self) -> int:
        """The highest ingestion sequence so far."""
        return self.last_sequence

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Interactions with an ingestion sequence of at most `until`, oldest first."""
        return (event for at, event in self.ingested.values() if at <= until and isinstance(event, Interaction))

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The last `count` interactions by ingestion, newest first."""
        held = sorted(self.ingested.values(), key=lambda pair: -pair[0])
        return tuple([event for _, event in held if isinstance(event, Interaction)][:count])

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Feedback with an ingestion sequence of at most `until`, oldest first."""
        return (event for at, event in self.ingested.values() if at <= until and isinstance(event, Feedback))

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Every dead letter, oldest first."""
        return tuple(event for _, event in self.ingested.values() if isinstance(event, DeadLetter))

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """Note the time at which a dead letter was sent again."""
        sequence, letter = self.ingested["dead_letter", letter_id]
        # Always so under this key; the type checker cannot know it.
        if isinstance(letter, DeadLetter):
            self.ingested["dead_letter", letter_id] = sequence, replace(letter, replayed_at=at)

    def clock(self) -> datetime:
        """The time in UTC, by this machine's clock."""
        return datetime.now(UTC)

    def counts(self) -> Mapping[str, int]:
        """Number of rows of each table."""
        held: list[object] = [event for _, event in self.ingested.values()]
        held += self.saved.values()
        return {table: _count(held, kind) for table, kind in TABLES.items()}

    def save_night(self, night: Night) -> None:
        """Insert the night, or replace the one with its id."""
        self.saved[Night, night.night_id] = night

    def nights(self) -> tuple[Night, ...]:
        """Every night, oldest first."""
        nights = [noun for noun in self.saved.values() if isinstance(noun, Night)]
        # By id where nights began at the same time, as they do by the fixed clock of a test.
        return tuple(sorted(nights, key=lambda night: (night.started_at, night.night_id)))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Insert the snapshot, or replace the one with its id."""
        self.saved[Snapshot, snapshot.snapshot_id] = snapshot

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """A snapshot by its id."""
        return self._one(Snapshot, snapshot_id)

    def save_candidate(self, candidate: Candidate) -> None:
        """Insert the candidate, unless there is one with its id."""
        self.saved.setdefault((Candidate, candidate.candidate_id), candidate)

    def candidate(self, candidate_id: str) -> Candidate:
        """A candidate by its id."""
        return self._one(Candidate, candidate_id)

    def candidates_of(self, job_id: str) -> tuple[Candidate, ...]:
        """Every candidate of a job, by id."""
        held = [noun for noun in self.saved.values() if isinstance(noun, Candidate) and noun.job_id == job_id]
        return tuple(sorted(held, key=lambda candidate: candidate.candidate_id))

    def save_evidence(self, evidence: Evidence) -> None:
        """Insert the evidence, or replace that with its id."""
        self.saved[Evidence, evidence.evidence_id] = evidence

    def evidence(self, evidence_id: str) -> Evidence:
        """Evidence by its id."""
        return self._one(Evidence, evidence_id)

    def save_decision(self, decision: Decision) -> None:
        """Insert the decision, or replace the one with its id."""
        self.saved[Decision, decision.decision_id] = decision

    def decision(self, decision_id: str) -> Decision:
        """A decision by its id."""
        return self._one(Decision, decision_id)

    @contextmanager
    def lease(self, name: str, seconds: float) -> Iterator[None]:  # noqa: ARG002 - nobody else can take it over
        """Hold a lease, for which only this process can ask. Raises LeaseHeldError while it is held already."""
        if name in self.leases:
            raise LeaseHeldError(f"the lease {name!r} is held by this process", "wait for it to end")
        self.leases.add(name)
        try:
            yield
        finally:
            self.leases.discard(name)

    def holder(self, name: str) -> Holder | None:
        """This process, while it holds the lease."""
        if name not in self.leases:
            return None
        # Nobody else can wait for it, so when it was taken and when it ends make no difference.
        now = self.clock()
        return Holder(socket.gethostname(), os.getpid(), now, now, alive=True)

    def _one(self, kind: type[Noun], key: str) -> Noun:
        noun = self.saved.get((kind, key))
        # None, for an absent key, is of no kind either.
        if not isinstance(noun, kind):
            raise NotFoundError(f"there is no {kind.__name__.lower()} {key!r}", "name one that this store has")
        return noun


class MemoryLedger:
    """A Ledger in memory; tests may tamper with `rows`."""

    def __init__(self) -> None:
        self.rows: list[Promotion] = []
        self.id = uuid4().hex

    def ledger_id(self) -> str:
        """The id of this ledger."""
        return self.id

    def entries(self) -> tuple[Promotion, ...]:
        """Every row, oldest first. Raises IntegrityError when a hash does not fit."""
        # At each reading, as the ledger in a database does: rows may have been tampered with since they were appended.
        verify(self.rows)
        return tuple(self.rows)

    def append(self, entry: Promotion) -> None:
        """Append a row. Raises StaleChampionError when its sequence is taken."""
        # Before the chain is checked: the second of two promoters was late, and its row is not broken.
        if any(row.sequence == entry.sequence for row in self.rows):
            raise StaleChampionError(f"ledger row {entry.sequence} is taken", "look at who serves now and decide again")
        follow(self.rows[-1] if self.rows else None, entry)
        self.rows.append(entry)


TABLES = {
    "interaction": Interaction,
    "feedback": Feedback,
    "dead_letter": DeadLetter,
    "snapshot": Snapshot,
    "candidate": Candidate,
    "evidence": Evidence,
    "decision": Decision,
    "night": Night,
}


def _count(held: Sequence[object], kind: type) -> int:
    return sum(isinstance(noun, kind) for noun in held)


def _identity(event: Event) -> tuple[str, ...]:
    # The kind is a part of it, because an interaction and a feedback may share source and id.
    if isinstance(event, DeadLetter):
        return "dead_letter", event.letter_id
    if isinstance(event, Interaction):
        return "interaction", event.source, event.interaction_id
    return "feedback", event.source, event.feedback_id
