"""Ports of a night: the records of its stages, the validator of its snapshot, and the lease under which it runs."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from loop.settings import ValidationSettings
from loop.types import Candidate, Decision, Evidence, Night, Snapshot, Validation


class Records(Protocol):
    """Results of the stages, by their ids. Raises NotFoundError for an unknown id."""

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


class NightStore(Records, Protocol):
    """All nights, with the results of their stages."""

    def save_night(self, night: Night) -> None:
        """Insert a night, or replace the one with its night_id."""

    def nights(self) -> tuple[Night, ...]:
        """All nights, oldest first."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a lease, or had it when it died."""

    host: str
    process_id: int
    acquired_at: datetime
    expires_at: datetime
    alive: bool | None
    """Whether the process lives; None on another machine, where only `expires_at` says anything."""


NIGHT_LEASE = "night"
"""Name of the lease of a night, and of whatever must not run beside one."""
LEASE_SECONDS = 60.0
"""Duration of that lease, which is renewed while its holder works."""


class Leases(Protocol):
    """Leases by name, each of at most one live process."""

    def lease(self, name: str, seconds: float) -> AbstractContextManager[None]:
        """A lease, held and renewed while the block runs. Raises LeaseHeldError when another live process has it.

        The lease of a process that died is taken over at once on its own machine, on others when it expires.
        """

    def holder(self, name: str) -> Holder | None:
        """Holder of the lease `name`, also when that process is dead; None after it was given back."""


class Validator(Protocol):
    """The expectation suite that a snapshot must pass before anything is trained on it."""

    def __call__(
        self, folder: Path, settings: ValidationSettings, report: Mapping[str, int], docs: Path
    ) -> Validation: ...
