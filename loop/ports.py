"""The doors between the loop and the world: what a stage may ask of a connector, and nothing else."""

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
    """An encoded event on its way into a log; events with one key keep their order."""

    key: str
    payload: bytes


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered sequence inside an event log."""

    topic: str
    number: int


class Entry(NamedTuple):
    """One payload of a partition at its offset."""

    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one partition. `start` is the position the reader stood at, `next` where it goes on."""

    partition: Partition
    start: int
    next: int
    entries: tuple[Entry, ...]


class EventLog(Protocol):
    """An ordered, durable log of encoded events. Raises UnreachableError when the service does not answer."""

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Durable when it returns."""

    def partitions(self) -> tuple[Partition, ...]:
        """The partitions this reader has now; a service may give and take them at any time."""

    def unplaced(self) -> tuple[Partition, ...]:
        """Those of `partitions` that wait for their first seek and bring nothing until then."""

    def ends(self) -> Mapping[Partition, int]:
        """Of every partition, also those of other readers, the offset that its next entry will get."""

    def seek(self, partition: Partition, position: int) -> None:
        """The next poll of `partition` starts at `position`. Raises NotFoundError when this reader hasn't got it."""

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:
        """At most `limit` entries in all; empty when nothing came for a moment, or without `wait` is not there yet."""

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Tell the service's own tools that everything before `position` is stored; nothing here relies on it."""

    def wait(self, seconds: float) -> None:
        """Let time pass without reading, and without losing the partitions."""

    def close(self) -> None:
        """Give everything back, the partitions to other readers at once."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch after parsing: what one database transaction takes."""

    batch: Batch
    interactions: tuple[Interaction, ...]
    feedback: tuple[Feedback, ...]
    dead_letters: tuple[DeadLetter, ...]


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that has a lease, or had it when it died."""

    host: str
    process_id: int
    acquired_at: datetime
    expires_at: datetime
    alive: bool | None
    """None for a process of another machine, of which only `expires_at` tells."""


class Store(Protocol):
    """What was captured and what each night made of it. Raises UnreachableError when the database does not answer."""

    def position(self, partition: Partition) -> int:
        """The offset to read next; 0 for a partition never read."""

    def ingest(self, parsed: Parsed) -> int:
        """Rows, dead letters and the new offset in one transaction; returns how many rows were new.

        Events seen before (same source and id) are absorbed. Raises FencedError when the stored offset is not
        `parsed.batch.start`: somebody else reads this partition, nothing was written.
        """

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """`ingest` in two parts: what needs no database is done now, the transaction when the result is called."""

    def watermark(self) -> int:
        """The highest committed ingestion sequence; rows at or below it never change."""

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Every interaction with an ingestion sequence of at most `until`, oldest first."""

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The last `count` of them by ingestion, newest first."""

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Every feedback with an ingestion sequence of at most `until`, oldest first."""

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """Oldest first."""

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """Note that a dead letter was sent again."""

    def clock(self) -> datetime:
        """The database's time."""

    def counts(self) -> Mapping[str, int]:
        """Rows per table: interaction, feedback, dead_letter, ..."""

    def save_night(self, night: Night) -> None:
        """Insert or replace by night_id."""

    def nights(self) -> tuple[Night, ...]:
        """Oldest first."""

    def save_snapshot(self, snapshot: Snapshot) -> None: ...

    def snapshot(self, snapshot_id: str) -> Snapshot: ...

    def save_candidate(self, candidate: Candidate) -> None: ...

    def candidate(self, candidate_id: str) -> Candidate: ...

    def candidates_of(self, job_id: str) -> tuple[Candidate, ...]:
        """Every candidate that a job came to; several where its training was run again and rounded otherwise."""

    def save_evidence(self, evidence: Evidence) -> None: ...

    def evidence(self, evidence_id: str) -> Evidence: ...

    def save_decision(self, decision: Decision) -> None: ...

    def decision(self, decision_id: str) -> Decision: ...

    def lease(self, name: str, seconds: float) -> AbstractContextManager[None]:
        """Held and renewed while the block runs; LeaseHeldError when another live process has it.

        The lease of a process that died on this machine is taken over at once, of another machine when it ends.
        """

    def holder(self, name: str) -> Holder | None:
        """Who has the lease `name`, also when that process is dead; None after it was given back."""


class Ledger(Protocol):
    """The append-only, hash-chained history of champions: the one truth about what serves."""

    def ledger_id(self) -> str:
        """Made once with the ledger and never changed: by it a registry knows whose champions it shows."""

    def entries(self) -> tuple[Promotion, ...]:
        """Oldest first. Raises IntegrityError when a hash does not fit its row or its predecessor."""

    def append(self, entry: Promotion) -> None:
        """Raises StaleChampionError when `entry.sequence` is taken: another writer was first."""


BASE_MODEL, DTYPE = "base_model", "dtype"
"""Tags of a version: where the base model of its adapter comes from, and the numbers its weights are held in."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A model version in the registry."""

    version: int
    candidate_id: str
    adapter_sha256: str
    tags: Mapping[str, str]
    description: str = ""
    """Markdown."""


class Run(Protocol):
    """The registry's log of one job's training and of judging what came out."""

    def log_settings(self, settings: Mapping[str, object]) -> None: ...

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_artifacts(self, path: Path, folder: str) -> None:
        """A file, or a whole folder, kept under `folder`."""

    def log_snapshot(self, snapshot: Snapshot, folder: Path) -> None:
        """The dataset that the run was trained on and judged by; `folder` holds it."""

    def name(self, title: str, note: str, tags: Mapping[str, str]) -> None:
        """Set what a reviewer reads in the list of runs and, in Markdown, on the run's page; add tags."""


class Registry(Protocol):
    """Where versions live and serving looks its aliases up. Raises UnreachableError when it does not answer."""

    def run(self, job_id: str, *, night_id: str = "") -> AbstractContextManager[Run]:
        """The run of this job, opened again when it exists; a night that trains it anew has one of its own."""

    def night_run(self, night_id: str, *, failed: bool = False) -> AbstractContextManager[Run]:
        """The run that a night trained in, or one that it has without a training; ends as failed if so told."""

    def require_own(self) -> None:
        """Raises UsageError when another ledger's champions are kept there under this model's name.

        So does everything that writes, before it writes.
        """

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        """The version number; the same bytes registered twice keep their first version.

        With the tags BASE_MODEL and DTYPE other programs can load and serve the version by the registry alone.
        Raises IntegrityError when the adapter in `folder` does not have the candidate's sha256.
        """

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        """Set the readable description and add tags."""

    def versions(self) -> tuple[RegisteredVersion, ...]:
        """Oldest first."""

    def fetch(self, version: int) -> Path:
        """A local folder with the adapter, sha256 checked (IntegrityError); NotFoundError for an unknown version."""

    def alias(self, name: str) -> int | None: ...

    def set_alias(self, name: str, version: int | None) -> None:
        """None removes the alias."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One drawn answer."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Raw log-probability (temperature 1, no truncation) of each token, in nats."""


class Generator(Protocol):
    """Anything that answers: a local model, or later an OpenAI-compatible server."""

    @property
    def fingerprint(self) -> str:
        """sha256 over the weights that answer (base and adapter): what a cache may be keyed by."""

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
        """One answer per prompt, in order."""


class Clock(Protocol):
    """Now, in UTC; tests and simulations bring their own."""

    def __call__(self) -> datetime: ...


class Validator(Protocol):
    """The expectation suite that a snapshot must pass before anything is trained on it."""

    def __call__(
        self, folder: Path, settings: ValidationSettings, report: Mapping[str, int], docs: Path
    ) -> Validation: ...


class Progress(Protocol):
    """Where long work says how far it is; `done == of` is its end, also of work that was cut short."""

    def __call__(self, stage: str, done: int, of: int, note: str) -> None: ...
