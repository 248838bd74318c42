"""Registry and run in memory, for tests without MLflow."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError
from loop.hashing import adapter_sha256, require_adapter
from loop.ports import RegisteredVersion
from loop.types import Candidate, Snapshot


class MemoryRun:
    """A Run in memory, which keeps everything that is logged to it."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.metrics: list[tuple[int, Mapping[str, float]]] = []
        self.artifacts: list[tuple[Path, str]] = []
        self.snapshots: list[tuple[Snapshot, Path]] = []
        self.title, self.note = "", ""
        self.tags: dict[str, str] = {}
        self.failed = False

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Keep the settings in `settings`, beside those logged before."""
        self.settings |= settings

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep the metrics of a step in `metrics`."""
        self.metrics.append((step, metrics))

    def log_artifacts(self, path: Path, folder: str) -> None:
        """Keep the path of a file or folder in `artifacts`; nothing is copied."""
        self.artifacts.append((path, folder))

    def log_snapshot(self, snapshot: Snapshot, folder: Path) -> None:
        """Keep the dataset in `snapshots`."""
        self.snapshots.append((snapshot, folder))

    def name(self, title: str, note: str, tags: Mapping[str, str]) -> None:
        """Set title and note, and add tags."""
        self.title, self.note = title, note
        self.tags |= tags


class MemoryRegistry:
    """A Registry in memory; its adapters lie in `folder`, where tests may tamper with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[int, RegisteredVersion] = {}
        self.aliases: dict[str, int] = {}
        self.runs: dict[str, MemoryRun] = {}

    @contextmanager
    def run(self, job_id: str, *, night_id: str = "") -> Iterator[MemoryRun]:
        """The run of a job, which is also that of the night that trains it."""
        run = self.runs.setdefault(job_id, MemoryRun())
        # So that `night_run` of the same night finds the run that it trained in.
        if night_id:
            self.runs[night_id] = run
        yield run

    @contextmanager
    def night_run(self, night_id: str, *, failed: bool = False) -> Iterator[MemoryRun]:
        """The run that a night trained in, or one of its own."""
        run = self.runs.setdefault(night_id, MemoryRun())
        yield run
        run.failed = failed

    def require_own(self) -> None:
        """Nothing is raised: a registry in memory can hold no other ledger's champions."""

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        """The version of a candidate, its adapter copied from `folder`; the same bytes keep their first version."""
        require_adapter(folder, candidate.adapter_sha256, "the candidate", "train again")
        for found in self.held.values():
            if found.adapter_sha256 == candidate.adapter_sha256:
                return found.version
        version = max(self.held, default=0) + 1
        shutil.copytree(folder, self.folder / str(version))
        self.held[version] = RegisteredVersion(
            version=version,
            candidate_id=candidate.candidate_id,
            adapter_sha256=candidate.adapter_sha256,
            base_fingerprint=candidate.base_fingerprint,
            tags=dict(tags),
        )
        return version

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        """Set the description and add tags."""
        found = self._found(version)
        self.held[version] = replace(found, tags={**found.tags, **tags}, description=text)

    def versions(self) -> tuple[RegisteredVersion, ...]:
        """Every version, oldest first."""
        return tuple(self.held[version] for version in sorted(self.held))

    def fetch(self, version: int) -> Path:
        """The folder of a version. Raises IntegrityError when its bytes were altered."""
        folder = self.folder / str(version)
        if adapter_sha256(folder) != self._found(version).adapter_sha256:
            raise IntegrityError(f"version {version} was altered", "use another version")
        return folder

    def alias(self, name: str) -> int | None:
        """The version that an alias names, or None."""
        return self.aliases.get(name)

    def set_alias(self, name: str, version: int | None) -> None:
        """Set an alias, or remove it with None."""
        if version is None:
            self.aliases.pop(name, None)
        else:
            # `_found`, so that no alias can name a version that does not exist.
            self.aliases[name] = self._found(version).version

    def delete(self, version: int) -> None:
        """Remove a version, which MLflow allows for the champion too; its aliases go with it."""
        del self.held[version]
        self.aliases = {name: named for name, named in self.aliases.items() if named != version}

    def _found(self, version: int) -> RegisteredVersion:
        if version not in self.held:
            raise NotFoundError(f"there is no version {version}", f"name one of {sorted(self.held)}")
        return self.held[version]
