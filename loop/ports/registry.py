"""The registry of versions, and the runs in which they were made."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from loop.types import Candidate, Snapshot

BASE_MODEL, DTYPE = "base_model", "dtype"
"""Tags of a version: origin of its adapter's base model, and number format of the base's weights."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A model version in the registry."""

    version: int
    candidate_id: str
    adapter_sha256: str
    base_fingerprint: str | None
    """Fingerprint of the base model that the adapter was trained on; None of a version registered without one."""
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
