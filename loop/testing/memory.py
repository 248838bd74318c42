"""Log, store and ledger in memory, for tests that are about something else than a database or a broker."""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
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
    """An EventLog; equal keys share a partition."""

    def __init__(self, topic: str = "events", partitions: int = 1) -> None:
        self.payloads: dict[Partition, list[bytes]] = {Partition(topic, n): [] for n in range(partitions)}
        self.stands_at = dict.fromkeys(self.payloads, 0)
        self.acknowledged: dict[Partition, int] = {}
        self.placed: set[Partition] = set()
        self.waited = 0.0

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Payloads, each in the partition of its key."""
        partitions = self.partitions()
        for envelope in envelopes:
            self.payloads[partitions[crc32(envelope.key.encode()) % len(partitions)]].append(envelope.payload)

    def partitions(self) -> tuple[Partition, ...]:
        """Every partition."""
        return tuple(self.payloads)

    def unplaced(self) -> tuple[Partition, ...]:
        """Partitions that were never sought."""
        return tuple(partition for partition in self.payloads if partition not in self.placed)

    def ends(self) -> Mapping[Partition, int]:
        """The number of payloads of each partition."""
        return {partition: len(payloads) for partition, payloads in self.payloads.items()}

    def acknowledge(self, partition: Partition, position: int) -> None:
        """A position that a service would show to its own tools."""
        self.acknowledged[partition] = position

    def wait(self, seconds: float) -> None:
        """Seconds that were waited, summed in `waited`."""
        self.waited += seconds

    def close(self) -> None:
        """There is nothing to give back."""

    def seek(self, partition: Partition, position: int) -> None:
        """The next poll of a partition starts at `position`. Raises NotFoundError for a partition of another log."""
        if partition not in self.payloads:
            raise NotFoundError(f"this log has no {partition}", f"read one of {self.partitions()}")
        self.stands_at[partition] = position
        self.placed.add(partition)

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:  # noqa: ARG002
        """At most `limit` entries of all partitions, from where each stands."""
        batches = []
        for partition, payloads in self.payloads.items():
            start = self.stands_at[partition]
            taken = payloads[start : start + limit]
            limit -= len(taken)
            if taken:
                self.stands_at[partition] = start + len(taken)
                entries = tuple(Entry(offset, payload) for offset, payload in enumerate(taken, start=start))
                batches.append(Batch(partition, start, start + len(taken), entries))
        return tuple(batches)


class MemoryStore:
    """A Store; `ingested` holds every captured event with its sequence."""

    def __init__(self) -> None:
        self.offsets: dict[Partition, int] = {}
        self.last_sequence = 0
        self.ingested: dict[tuple[str, ...], tuple[int, Event]] = {}
        self.saved: dict[tuple[type, str], Night | Snapshot | Candidate | Evidence | Decision] = {}
        self.leases: set[str] = set()

    def position(self, partition: Partition) -> int:
        """The offset to read next."""
        return self.offsets.get(partition, 0)

    def ingest(self, parsed: Parsed) -> int:
        """Events of a batch and its new offset. Raises FencedError when the offset is another one."""
        batch = parsed.batch
        if batch.start != self.position(batch.partition):
            raise FencedError(f"the offset is not {batch.start} any more", "read the stored position again")
        self.offsets[batch.partition] = batch.next
        before = len(self.ingested)
        events: tuple[Event, ...] = (*parsed.interactions, *parsed.feedback, *parsed.dead_letters)
        for event in events:
            self.last_sequence += 1
            self.ingested.setdefault(_identity(event), (self.last_sequence, event))
        return len(self.ingested) - before

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """`ingest`, later."""
        return lambda: self.ingest(parsed)

    def watermark(self) -> int:
        """The last ingestion sequence."""
        return self.last_sequence

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Interactions up to a sequence."""
        return (event for at, event in self.ingested.values() if at <= until and isinstance(event, Interaction))

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The newest interactions, newest first."""
        held = sorted(self.ingested.values(), key=lambda pair: -pair[0])
        return tuple([event for _, event in held if isinstance(event, Interaction)][:count])

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Feedback up to a sequence."""
        return (event for at, event in self.ingested.values() if at <= until and isinstance(event, Feedback))

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Every dead letter."""
        return tuple(event for _, event in self.ingested.values() if isinstance(event, DeadLetter))

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """When a dead letter was sent again."""
        sequence, letter = self.ingested["dead_letter", letter_id]
        if isinstance(letter, DeadLetter):
            self.ingested["dead_letter", letter_id] = sequence, replace(letter, replayed_at=at)

    def clock(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

    def counts(self) -> Mapping[str, int]:
        """Number of rows of each table."""
        events = [event for _, event in self.ingested.values()]
        held = [*events, *self.saved.values()]
        return {table: sum(isinstance(noun, kind) for noun in held) for table, kind in TABLES.items()}

    def save_night(self, night: Night) -> None:
        """A night, inserted or replaced."""
        self.saved[Night, night.night_id] = night

    def nights(self) -> tuple[Night, ...]:
        """Every night, oldest first."""
        nights = [noun for noun in self.saved.values() if isinstance(noun, Night)]
        return tuple(sorted(nights, key=lambda night: (night.started_at, night.night_id)))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """A snapshot."""
        self.saved[Snapshot, snapshot.snapshot_id] = snapshot

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """A snapshot by its id."""
        return self._one(Snapshot, snapshot_id)

    def save_candidate(self, candidate: Candidate) -> None:
        """A candidate; the first of an id stays."""
        self.saved.setdefault((Candidate, candidate.candidate_id), candidate)

    def candidate(self, candidate_id: str) -> Candidate:
        """A candidate by its id."""
        return self._one(Candidate, candidate_id)

    def candidates_of(self, job_id: str) -> tuple[Candidate, ...]:
        """Every candidate of a job."""
        held = [noun for noun in self.saved.values() if isinstance(noun, Candidate) and noun.job_id == job_id]
        return tuple(sorted(held, key=lambda candidate: candidate.candidate_id))

    def save_evidence(self, evidence: Evidence) -> None:
        """Evidence."""
        self.saved[Evidence, evidence.evidence_id] = evidence

    def evidence(self, evidence_id: str) -> Evidence:
        """Evidence by its id."""
        return self._one(Evidence, evidence_id)

    def save_decision(self, decision: Decision) -> None:
        """A decision."""
        self.saved[Decision, decision.decision_id] = decision

    def decision(self, decision_id: str) -> Decision:
        """A decision by its id."""
        return self._one(Decision, decision_id)

    @contextmanager
    def lease(self, name: str, seconds: float) -> Iterator[None]:  # noqa: ARG002 - nobody else can take it over
        """A lease that this process alone can hold. Raises LeaseHeldError while it does."""
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
        now = self.clock()
        return Holder(socket.gethostname(), os.getpid(), now, now, alive=True)

    def _one(self, kind: type[Noun], key: str) -> Noun:
        noun = self.saved.get((kind, key))
        if not isinstance(noun, kind):
            raise NotFoundError(f"there is no {kind.__name__.lower()} {key!r}", "name one that this store has")
        return noun


class MemoryLedger:
    """A Ledger; tests may tamper with `rows`."""

    def __init__(self) -> None:
        self.rows: list[Promotion] = []
        self.id = uuid4().hex

    def ledger_id(self) -> str:
        """The id of this ledger."""
        return self.id

    def entries(self) -> tuple[Promotion, ...]:
        """Every row, verified."""
        verify(self.rows)
        return tuple(self.rows)

    def append(self, entry: Promotion) -> None:
        """A row. Raises StaleChampionError when its number is taken."""
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


def _identity(event: Event) -> tuple[str, ...]:
    if isinstance(event, DeadLetter):
        return "dead_letter", event.letter_id
    if isinstance(event, Interaction):
        return "interaction", event.source, event.interaction_id
    return "feedback", event.source, event.feedback_id
