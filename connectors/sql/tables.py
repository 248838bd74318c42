"""The tables of store, embedded log and ledger: one column per field of the noun in `loop.types`, of the same name.

`migrations/` creates them; a test keeps the two equal. Store and ledger have their own metadata because they may live
in different databases.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Column, MetaData, Table, UniqueConstraint
from sqlmodel import Field, SQLModel

from connectors.sql.columns import BIG, PLAIN_JSON, Nested, StageOutputs, Utc, Word
from loop.types import (
    Action,
    FeedbackKind,
    Message,
    NightStatus,
    Outputs,
    Sampling,
    SuiteEvidence,
    TestResult,
    Verdict,
    Verifier,
)

NAMES = {
    "pk": "pk_%(table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
}
"""Patterns of constraint names, so that a later migration can drop by name a constraint that an earlier one made.

A UNIQUE that begins with the id doubles as the index by id.
"""


class StoreTable(SQLModel):
    """Base of the tables in the store's database."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


class LedgerTable(SQLModel):
    """Base of the tables in the ledger's database."""

    metadata: ClassVar[MetaData] = MetaData(naming_convention=NAMES)


class InteractionRow(StoreTable, table=True):
    """An interaction with its place in the order of ingestion."""

    __tablename__ = "interaction"
    __table_args__ = (UniqueConstraint("interaction_id", "source"),)
    # Given out by `database.reserve`: numbers that the database increments itself would not commit in their order.
    sequence: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    interaction_id: str
    source: str
    occurred_at: datetime = Field(sa_column=Column(Utc, nullable=False))
    conversation_id: str
    messages: tuple[Message, ...] = Field(sa_column=Column(Nested(tuple[Message, ...]), nullable=False))
    response: Message = Field(sa_column=Column(Nested(Message), nullable=False))
    model: str
    parent_id: str | None
    # Databases from before store_0003 have interactions without aliases, hence the default.
    aliases: tuple[str, ...] = Field(sa_column=Column(Nested(tuple[str, ...]), nullable=False, server_default="[]"))
    user_key: str | None
    tenant: str
    sampling: Sampling | None = Field(sa_column=Column(Nested(Sampling)))
    token_logprobs: tuple[float, ...] | None = Field(sa_column=Column(Nested(tuple[float, ...])))
    verifiers: tuple[Verifier, ...] = Field(sa_column=Column(Nested(tuple[Verifier, ...]), nullable=False))
    # SQLModel needs the attribute `metadata` for itself; only the column can have the field's name.
    metadata_: Mapping[str, Any] = Field(sa_column=Column("metadata", PLAIN_JSON, nullable=False))


class FeedbackRow(StoreTable, table=True):
    """A feedback with its place in the order of ingestion."""

    __tablename__ = "feedback"
    __table_args__ = (UniqueConstraint("feedback_id", "source"),)
    sequence: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    feedback_id: str
    source: str
    occurred_at: datetime = Field(sa_column=Column(Utc, nullable=False))
    interaction_id: str
    kind: FeedbackKind = Field(sa_column=Column(Word(FeedbackKind), nullable=False))
    value: float | None
    text: str | None
    other_interaction_id: str | None
    whole_conversation: bool
    revises: str | None
    retracted: bool
    user_key: str | None
    tenant: str
    metadata_: Mapping[str, Any] = Field(sa_column=Column("metadata", PLAIN_JSON, nullable=False))


class DeadLetterRow(StoreTable, table=True):
    """A payload that could not be parsed, with the reason."""

    __tablename__ = "dead_letter"
    sequence: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    letter_id: str = Field(unique=True)
    source: str
    position: int = Field(sa_column=Column(BIG, nullable=False))
    reason: str
    payload: bytes
    replayed_at: datetime | None = Field(sa_column=Column(Utc))


class OffsetRow(StoreTable, table=True):
    """The position up to which a partition has been ingested."""

    __tablename__ = "ingest_offset"
    topic: str = Field(primary_key=True)
    number: int = Field(primary_key=True)
    next: int = Field(sa_column=Column(BIG, nullable=False))
    """Offset to read next."""


class CounterRow(StoreTable, table=True):
    """The last number given out by a counter; its row lock, held until the commit, makes numbers commit in order."""

    __tablename__ = "counter"
    name: str = Field(primary_key=True)
    last: int = Field(sa_column=Column(BIG, nullable=False))


class EventRow(StoreTable, table=True):
    """One entry of the embedded event log."""

    __tablename__ = "event_log"
    topic: str = Field(primary_key=True)
    offset: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    key: str
    payload: bytes


class LeaseRow(StoreTable, table=True):
    """The process that may run the night, and until when."""

    __tablename__ = "lease"
    name: str = Field(primary_key=True)
    owner: str
    """`host:pid:start` of the process."""
    acquired_at: datetime = Field(sa_column=Column(Utc, nullable=False))
    expires_at: datetime = Field(sa_column=Column(Utc, nullable=False))


class NightRow(StoreTable, table=True):
    """One run of the loop."""

    __tablename__ = "night"
    night_id: str = Field(primary_key=True)
    as_of: datetime = Field(sa_column=Column(Utc, nullable=False))
    status: NightStatus = Field(sa_column=Column(Word(NightStatus), nullable=False))
    champion_version: int
    outputs: Outputs = Field(sa_column=Column(StageOutputs, nullable=False))
    # Databases from before store_0006 have nights without settings, hence the default.
    settings: Mapping[str, Any] = Field(sa_column=Column(PLAIN_JSON, nullable=False, server_default="{}"))
    reasons: tuple[str, ...] = Field(sa_column=Column(Nested(tuple[str, ...]), nullable=False))
    verdict: Verdict | None = Field(sa_column=Column(Word(Verdict)))
    started_at: datetime = Field(sa_column=Column(Utc, nullable=False))
    finished_at: datetime | None = Field(sa_column=Column(Utc))


class SnapshotRow(StoreTable, table=True):
    """The identity of a snapshot; its files lie under the home folder."""

    __tablename__ = "snapshot"
    snapshot_id: str = Field(primary_key=True)
    as_of: datetime = Field(sa_column=Column(Utc, nullable=False))
    counts: Mapping[str, int] = Field(sa_column=Column(PLAIN_JSON, nullable=False))
    curation: Mapping[str, int] = Field(sa_column=Column(PLAIN_JSON, nullable=False))


class CandidateRow(StoreTable, table=True):
    """A trained adapter's identity and origin."""

    __tablename__ = "candidate"
    candidate_id: str = Field(primary_key=True)
    job_id: str = Field(index=True)
    snapshot_id: str = Field(index=True)
    parent_version: int
    adapter_sha256: str
    parent_sha256: str | None
    base_fingerprint: str
    settings: Mapping[str, Any] = Field(sa_column=Column(PLAIN_JSON, nullable=False))
    metrics: Mapping[str, float] = Field(sa_column=Column(Nested(Mapping[str, float]), nullable=False))


class EvidenceRow(StoreTable, table=True):
    """The scores of one candidate that the gate decides on."""

    __tablename__ = "evidence"
    evidence_id: str = Field(primary_key=True)
    candidate_id: str = Field(index=True)
    candidate_sha256: str
    champion_version: int
    champion_sha256: str | None
    anchor_version: int
    anchor_sha256: str | None
    suites: tuple[SuiteEvidence, ...] = Field(sa_column=Column(Nested(tuple[SuiteEvidence, ...]), nullable=False))


class DecisionRow(StoreTable, table=True):
    """The gate's verdict on one candidate, with its reasons."""

    __tablename__ = "decision"
    decision_id: str = Field(primary_key=True)
    evidence_id: str
    candidate_id: str = Field(index=True)
    candidate_sha256: str
    champion_version: int
    champion_sha256: str | None
    verdict: Verdict = Field(sa_column=Column(Word(Verdict), nullable=False))
    reasons: tuple[str, ...] = Field(sa_column=Column(Nested(tuple[str, ...]), nullable=False))
    tests: tuple[TestResult, ...] = Field(sa_column=Column(Nested(tuple[TestResult, ...]), nullable=False))


class PromotionRow(LedgerTable, table=True):
    """One row of the ledger; triggers refuse to change or delete it."""

    __tablename__ = "promotion"
    sequence: int = Field(sa_column=Column(BIG, primary_key=True, autoincrement=False))
    action: Action = Field(sa_column=Column(Word(Action), nullable=False))
    model: str
    from_version: int
    to_version: int
    adapter_sha256: str | None
    decision_id: str | None
    actor: str
    reason: str
    recorded_at: datetime = Field(sa_column=Column(Utc, nullable=False))
    previous_hash: str
    entry_hash: str


class IdentityRow(LedgerTable, table=True):
    """The ledger's id: a single row, which the migration makes and nothing changes."""

    __tablename__ = "ledger_identity"
    ledger_id: str = Field(primary_key=True)


def table_of(row: type[SQLModel]) -> Table:
    """The Core table of a row class."""
    return row.metadata.tables[str(row.__tablename__)]
