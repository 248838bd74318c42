"""The Store on SQLite or PostgreSQL: capture writes events, curation reads them, stages save their results."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, and_, func, select, update

from connectors.sql import lease
from connectors.sql.bulk import load
from connectors.sql.columns import Utc
from connectors.sql.database import insert, open_database, reading, reserve, writing
from connectors.sql.rows import read, row_of, save
from connectors.sql.tables import (
    CandidateRow,
    CounterRow,
    DeadLetterRow,
    DecisionRow,
    EvidenceRow,
    FeedbackRow,
    InteractionRow,
    NightRow,
    OffsetRow,
    SnapshotRow,
    table_of,
)
from loop.errors import FencedError, NotFoundError
from loop.ports import Batch, Holder, Parsed, Partition
from loop.types import Candidate, DeadLetter, Decision, Evidence, Feedback, Interaction, Night, Snapshot, Stage

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

INTERACTION, FEEDBACK, DEAD_LETTER = table_of(InteractionRow), table_of(FeedbackRow), table_of(DeadLetterRow)
OFFSET, COUNTER = table_of(OffsetRow), table_of(CounterRow)
NIGHT, SNAPSHOT, CANDIDATE = table_of(NightRow), table_of(SnapshotRow), table_of(CandidateRow)
EVIDENCE, DECISION = table_of(EvidenceRow), table_of(DecisionRow)

COUNTED = (INTERACTION, FEEDBACK, DEAD_LETTER, SNAPSHOT, CANDIDATE, EVIDENCE, DECISION, NIGHT)
IDENTITY = {
    INTERACTION: ("interaction_id", "source"),
    FEEDBACK: ("feedback_id", "source"),
    DEAD_LETTER: ("letter_id",),
}
"""Unique columns by which a repeated event is recognised."""
MADE_BY = {SNAPSHOT: Stage.CURATE, CANDIDATE: Stage.TRAIN, EVIDENCE: Stage.EVALUATE, DECISION: Stage.DECIDE}
INGEST = "ingest"
"""Name of the counter for interactions, feedback and dead letters together, so that one watermark bounds them all."""

Noun = TypeVar("Noun", bound="DataclassInstance")


class SqlStore:
    """`loop.ports.Store` on the database at `url`; its tables are made or migrated when it opens."""

    def __init__(self, url: str) -> None:
        self._engine = open_database(url, "store")

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def position(self, partition: Partition) -> int:
        """The offset to read next; 0 for a partition never read."""
        with reading(self._engine) as connection:
            found = connection.execute(select(OFFSET.c.next).where(_is(partition))).scalar()
        return found or 0

    def ingest(self, parsed: Parsed) -> int:
        """Store rows, dead letters and the new offset in one transaction; returns how many rows were new."""
        return self.prepare(parsed)()

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """Prepare `ingest` up to its transaction, which the returned function runs.

        The counter's lock makes concurrent ingests take turns, so sequences commit in order.
        """
        groups = ((INTERACTION, parsed.interactions), (FEEDBACK, parsed.feedback), (DEAD_LETTER, parsed.dead_letters))
        loads = [load(self._engine.dialect, table, nouns, IDENTITY[table]) for table, nouns in groups]

        def write() -> int:
            with writing(self._engine) as connection:
                # First of all, for its lock is the one that the loads rely on. Repeated events leave gaps in the
                # sequence, as they are counted before anybody knows that they are repeated.
                sequence = reserve(connection, INGEST, sum(each.count for each in loads))
                # In the same transaction as the rows: an offset that is stored later doubles rows after a crash.
                _advance(connection, parsed.batch)
                firsts = accumulate((each.count for each in loads[:-1]), initial=sequence)
                return sum(each.insert(connection, first) for each, first in zip(loads, firsts, strict=True))

        return write

    def watermark(self) -> int:
        """The highest committed ingestion sequence; rows at or below it never change."""
        with reading(self._engine) as connection:
            return connection.execute(select(COUNTER.c.last).where(COUNTER.c.name == INGEST)).scalar() or 0

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Every interaction with an ingestion sequence of at most `until`, oldest first."""
        with reading(self._engine) as connection:
            yield from read(connection, INTERACTION, Interaction, INTERACTION.c.sequence <= until, order=("sequence",))

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The last `count` interactions by ingestion, newest first."""
        newest = select(INTERACTION.c.sequence).order_by(INTERACTION.c.sequence.desc()).limit(count)
        with reading(self._engine) as connection:
            among = INTERACTION.c.sequence.in_(newest)
            return tuple(read(connection, INTERACTION, Interaction, among, order=("sequence",)))[::-1]

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Every feedback with an ingestion sequence of at most `until`, oldest first."""
        with reading(self._engine) as connection:
            yield from read(connection, FEEDBACK, Feedback, FEEDBACK.c.sequence <= until, order=("sequence",))

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """All dead letters, oldest first."""
        with reading(self._engine) as connection:
            return tuple(read(connection, DEAD_LETTER, DeadLetter, order=("sequence",)))

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """Note that a dead letter was sent again."""
        with writing(self._engine) as connection:
            connection.execute(update(DEAD_LETTER).where(DEAD_LETTER.c.letter_id == letter_id).values(replayed_at=at))

    def clock(self) -> datetime:
        """The database's time, to the second."""
        with reading(self._engine) as connection:
            return connection.execute(select(func.current_timestamp(type_=Utc()))).scalar_one()

    def counts(self) -> Mapping[str, int]:
        """Number of rows of each table."""
        with reading(self._engine) as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in COUNTED
            }

    def save_night(self, night: Night) -> None:
        """Insert a night, or replace the one with its night_id."""
        self._save(NIGHT, night)

    def nights(self) -> tuple[Night, ...]:
        """All nights, oldest first."""
        with reading(self._engine) as connection:
            return tuple(read(connection, NIGHT, Night, order=("started_at", "night_id")))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Insert a snapshot, or replace the one with its snapshot_id."""
        self._save(SNAPSHOT, snapshot)

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """The snapshot with this id. Raises NotFoundError."""
        return self._one(SNAPSHOT, Snapshot, snapshot_id)

    def save_candidate(self, candidate: Candidate) -> None:
        """Insert a candidate; a known one stays as it is, since equal bytes are the same candidate."""
        with writing(self._engine) as connection:
            fresh = insert(connection, CANDIDATE).values(row_of(candidate))
            connection.execute(fresh.on_conflict_do_nothing())

    def candidate(self, candidate_id: str) -> Candidate:
        """The candidate with this id. Raises NotFoundError."""
        return self._one(CANDIDATE, Candidate, candidate_id)

    def candidates_of(self, job_id: str) -> tuple[Candidate, ...]:
        """Every candidate that a job has made, by id."""
        with reading(self._engine) as connection:
            return tuple(read(connection, CANDIDATE, Candidate, CANDIDATE.c.job_id == job_id, order=("candidate_id",)))

    def save_evidence(self, evidence: Evidence) -> None:
        """Insert evidence, or replace the one with its evidence_id."""
        self._save(EVIDENCE, evidence)

    def evidence(self, evidence_id: str) -> Evidence:
        """The evidence with this id. Raises NotFoundError."""
        return self._one(EVIDENCE, Evidence, evidence_id)

    def save_decision(self, decision: Decision) -> None:
        """Insert a decision, or replace the one with its decision_id."""
        self._save(DECISION, decision)

    def decision(self, decision_id: str) -> Decision:
        """The decision with this id. Raises NotFoundError."""
        return self._one(DECISION, Decision, decision_id)

    def lease(self, name: str, seconds: float) -> AbstractContextManager[None]:
        """The lease `name`, renewed while the block runs. Raises LeaseHeldError when another live process has it."""
        return lease.hold(self._engine, name, seconds)

    def holder(self, name: str) -> Holder | None:
        """The process that has the lease `name`, also when it is dead; None after the lease was given back."""
        return lease.holder(self._engine, name)

    def _save(self, table: Table, noun: "DataclassInstance") -> None:
        with writing(self._engine) as connection:
            save(connection, table, noun)

    def _one(self, table: Table, kind: type[Noun], key: str) -> Noun:
        (id_column,) = table.primary_key
        with reading(self._engine) as connection:
            found = next(read(connection, table, kind, id_column == key), None)
        if found is None:
            raise NotFoundError(
                f"there is no {table.name} {key!r}",
                f"`nightshift --json nights` lists those of all nights: outputs.{MADE_BY[table]}",
            )
        return found


def _is(partition: Partition) -> ColumnElement[bool]:
    return and_(OFFSET.c.topic == partition.topic, OFFSET.c.number == partition.number)


def _advance(connection: Connection, batch: Batch) -> None:
    """Compare and set the partition's offset. Raises FencedError when it is not where this reader started from."""
    # Compared with the position read from, not with the first entry's offset: logs have gaps between offsets.
    at_start = and_(_is(batch.partition), OFFSET.c.next == batch.start)
    moved = connection.execute(update(OFFSET).where(at_start).values(next=batch.next)).rowcount
    # A partition that was never read has no row yet; of two readers that insert it one is too late, and fenced.
    if not moved and batch.start == 0:
        first = {"topic": batch.partition.topic, "number": batch.partition.number, "next": batch.next}
        moved = connection.execute(insert(connection, OFFSET).values(first).on_conflict_do_nothing()).rowcount
    if not moved:
        raise FencedError(
            f"another reader moved {batch.partition.topic}/{batch.partition.number} on from offset {batch.start}",
            "read the stored position again and go on from there",
        )
