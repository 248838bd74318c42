"""Ports between the loop and the world: everything that a stage may ask of a connector."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from loop.settings import ValidationSettings
from loop.types import (
    Candidate,
    DeadLetter,
    Decision,
    Evidence,
    Feedback,
    Interaction,
    Message,
    Night,
    Promotion,
    Sampling,
    Snapshot,
    Validation,
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encoded event for a log; events with the same key keep their order."""

    key: str
    payload: bytes


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered sequence inside an event log."""

    topic: str
    number: int


# A tuple, because a log makes one for every event that it brings.
class Entry(NamedTuple):
    """One payload of a partition at its offset."""

    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one partition, read from the position `start`; reading goes on at `next`."""

    partition: Partition
    # Not the offsets of the first and last entry: a log may have gaps on both sides of them.
    start: int
    next: int
    entries: tuple[Entry, ...]


class EventLog(Protocol):
    """An ordered, durable log of encoded events. Raises UnreachableError when the service does not answer."""

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Append events, durable when it returns."""

    def partitions(self) -> tuple[Partition, ...]:
        """Partitions that this reader has now; a service may give and take them at any time."""

    def unplaced(self) -> tuple[Partition, ...]:
        """Partitions of this reader that wait for their first seek and bring nothing until then."""

    def ends(self) -> Mapping[Partition, int]:
        """Offset that the next entry of each partition will get, also of partitions of other readers."""

    def seek(self, partition: Partition, position: int) -> None:
        """Let the next poll of `partition` start at `position`. Raises NotFoundError when it is not this reader's."""

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:
        """At most `limit` entries in all; none when none came for a moment or, without `wait`, none is there yet."""

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Tell the service's own tools that everything before `position` is stored; the loop does not rely on it."""

    def wait(self, seconds: float) -> None:
        """Wait without reading, and without losing the partitions."""

    def close(self) -> None:
        """Close the log; other readers get the partitions at once."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch after parsing: the events of one database transaction."""

    batch: Batch
    interactions: tuple[Interaction, ...]
    feedback: tuple[Feedback, ...]
    dead_letters: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a lease, or had it when it died."""

    host: str
    process_id: int
    acquired_at: datetime
    expires_at: datetime
    alive: bool | None
    """Whether the process lives; None on another machine, where only `expires_at` says anything."""


class Store(Protocol):
    """All captured events and all that nights made from them. Raises UnreachableError when it does not answer."""

    def position(self, partition: Partition) -> int:
        """Offset of the entry to read next; 0 for a partition that was never read."""

    def ingest(self, parsed: Parsed) -> int:
        """Store rows, dead letters and the new offset in one transaction; returns the number of new rows.

        Events seen before (same source and id) change nothing. Raises FencedError when the stored offset is not
        `parsed.batch.start`: another process reads this partition, and nothing was written.
        """

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """Prepare an `ingest` as far as it needs no database; a call of the result is the transaction."""

    def watermark(self) -> int:
        """The highest committed ingestion sequence; rows at or below it never change."""

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Every interaction with an ingestion sequence of at most `until`, oldest first."""

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The last `count` interactions by ingestion, newest first."""

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Every feedback with an ingestion sequence of at most `until`, oldest first."""

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """All dead letters, oldest first."""

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """Note that a dead letter was sent again."""

    def clock(self) -> datetime:
        """Time of the database."""

    def counts(self) -> Mapping[str, int]:
        """Rows per table: interaction, feedback, dead_letter, ..."""

    def save_night(self, night: Night) -> None:
        """Insert a night, or replace the one with its night_id."""

    def nights(self) -> tuple[Night, ...]:
        """All nights, oldest first."""

    # Snapshots, candidates, evidence and decisions that are read by an unknown id raise NotFoundError.

    def save_snapshot(self, snapshot: Snapshot) -> None: ...

    def snapshot(self, snapshot_id: str) -> Snapshot: ...

    def save_candidate(self, candidate: Candidate) -> None: ...

    def candidate(self, candidate_id: str) -> Candidate: ...

    def candidates_of(self, job_id: str) -> tuple[Candidate, ...]:
        """Candidates of a job; several when its training was run again and rounded differently."""

    def save_evidence(self, evidence: Evidence) -> None: ...

    def evidence(self, evidence_id: str) -> Evidence: ...

    def save_decision(self, decision: Decision) -> None: ...

    def decision(self, decision_id: str) -> Decision: ...

    def lease(self, name: str, seconds: float) -> AbstractContextManager[None]:
        """A lease, held and renewed while the block runs. Raises LeaseHeldError when another live process has it.

        The lease of a process that died is taken over at once on its own machine, on others when it expires.
        """

    def holder(self, name: str) -> Holder | None:
        """Holder of the lease `name`, also when that process is dead; None after it was given back."""


class Ledger(Protocol):
    """The append-only, hash-chained history of champions: the one truth about what serves."""

    def ledger_id(self) -> str:
        """Id of the ledger, made once and never changed, by which a registry knows whose champions it shows."""

    def entries(self) -> tuple[Promotion, ...]:
        """All rows, oldest first. Raises IntegrityError when a hash does not fit its row or its predecessor."""

    def append(self, entry: Promotion) -> None:
        """Append a row. Raises StaleChampionError when its sequence is taken, because another writer was first."""


BASE_MODEL, DTYPE = "base_model", "dtype"
"""Tags of a version: origin of its adapter's base model, and number format of the base's weights."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A model version in the registry."""

    version: int
    candidate_id: str
    adapter_sha256: str
    tags: Mapping[str, str]
    description: str = ""
    """Text for people, in Markdown."""


class Run(Protocol):
    """The registry's record of one job: its training and the evaluation of its candidate."""

    def log_settings(self, settings: Mapping[str, object]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifacts(self, path: Path, folder: str) -> None:
        """Keep a file, or a whole folder, under `folder`."""

    def log_snapshot(self, snapshot: Snapshot, folder: Path) -> None:
        """Record the dataset that the run was trained on and judged by; `folder` holds it."""

    def name(self, title: str, note: str, tags: Mapping[str, str]) -> None:
        """Set the title for the list of runs and the note, in Markdown, for the run's page; add tags."""


class Registry(Protocol):
    """Versions, and the aliases by which serving finds them. Raises UnreachableError when it does not answer."""

    def run(self, job_id: str, *, night_id: str = "") -> AbstractContextManager[Run]:
        """The run of a job, opened again when it exists; a night that trains the job anew has a run of its own."""

    def night_run(self, night_id: str, *, failed: bool = False) -> AbstractContextManager[Run]:
        """The run that a night trained in, or else one of its own; with `failed` it ends as failed."""

    def require_own(self) -> None:
        """Raises UsageError when another ledger keeps its champions there under this model's name.

        Everything that writes raises it as well, before it writes.
        """

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        """Register a candidate; returns its version number, for the same bytes always the first one.

        With the tags BASE_MODEL and DTYPE other programs can load and serve the version from the registry alone.
        Raises IntegrityError when the adapter in `folder` does not have the candidate's sha256.
        """

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        """Set a version's description and add tags."""

    def versions(self) -> tuple[RegisteredVersion, ...]:
        """All versions, oldest first."""

    def fetch(self, version: int) -> Path:
        """A local folder with the adapter. Raises IntegrityError for other bytes, NotFoundError for no such version."""

    # Unconditional, as MLflow's aliases are: of two promoters only the ledger's compare-and-set can refuse one.

    def alias(self, name: str) -> int | None: ...

    def set_alias(self, name: str, version: int | None) -> None:
        """Set an alias; a version of None removes it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated answer."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Raw log-probability (temperature 1, no truncation) of each token, in nats."""


class Generator(Protocol):
    """A model that answers: a local one, or later an OpenAI-compatible server."""

    @property
    def fingerprint(self) -> str:
        """sha256 over the weights that answer (base and adapter); caches use it as a key."""

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
        """One answer per prompt, in order."""


class Clock(Protocol):
    """The time in UTC; tests and simulations have clocks of their own."""

    def __call__(self) -> datetime: ...


class Validator(Protocol):
    """The expectation suite that a snapshot must pass before anything is trained on it."""

    def __call__(
        self, folder: Path, settings: ValidationSettings, report: Mapping[str, int], docs: Path
    ) -> Validation: ...


class Progress(Protocol):
    """Receiver of the progress of long work; `done == of` is its end, also of work that was cut short."""

    def __call__(self, stage: str, done: int, of: int, note: str) -> None: ...
