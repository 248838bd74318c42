"""The Registry in memory, and the adapters that tests register."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError
from loop.hashing import adapter_sha256, require_adapter
from loop.identity import decision_id
from loop.ports import RegisteredVersion
from loop.types import Candidate, Decision, Snapshot, Verdict

CONFIG = '{"r": 1}'


def make_candidate(folder: Path, candidate_id: str) -> Candidate:
    """A candidate with a small adapter of its own in `folder`."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(CONFIG)
    (folder / "adapter_model.safetensors").write_bytes(candidate_id.encode() * 100)
    (folder / "manifest.json").write_text(f'{{"candidate_id": "{candidate_id}"}}')
    return Candidate(
        candidate_id=candidate_id,
        job_id=f"job-{candidate_id}",
        snapshot_id="snapshot",
        parent_version=0,
        adapter_sha256=adapter_sha256(folder),
        parent_sha256=None,
        base_fingerprint="base",
        settings={},
        metrics={},
    )


def sha256_of(candidate_id: str) -> str:
    """Of the adapter that `make_candidate` makes under this name."""
    return sha256(CONFIG.encode() + candidate_id.encode() * 100).hexdigest()


def judged(
    candidate_id: str,
    *,
    champion: str | None,
    champion_version: int,
    verdict: Verdict = Verdict.PROMOTE,
    evidence_id: str = "evidence",
) -> Decision:
    """A decision on a candidate of `make_candidate` against another one; None is the base model."""
    decision = Decision(
        decision_id="",
        evidence_id=evidence_id,
        candidate_id=candidate_id,
        candidate_sha256=sha256_of(candidate_id),
        champion_version=champion_version,
        champion_sha256=champion and sha256_of(champion),
        verdict=verdict,
        reasons=(),
        tests=(),
    )
    return replace(decision, decision_id=decision_id(decision))


class MemoryRun:
    """A Run that keeps what it was told."""

    def __init__(self) -> None:
        self.settings: dict[str, object] = {}
        self.metrics: list[tuple[int, Mapping[str, float]]] = []
        self.artifacts: list[tuple[Path, str]] = []
        self.snapshots: list[tuple[Snapshot, Path]] = []
        self.title, self.note = "", ""
        self.tags: dict[str, str] = {}
        self.failed = False

    def log_settings(self, settings: Mapping[str, object]) -> None:
        self.settings |= settings

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def log_artifacts(self, path: Path, folder: str) -> None:
        self.artifacts.append((path, folder))

    def log_snapshot(self, snapshot: Snapshot, folder: Path) -> None:
        self.snapshots.append((snapshot, folder))

    def name(self, title: str, note: str, tags: Mapping[str, str]) -> None:
        self.title, self.note = title, note
        self.tags |= tags


class MemoryRegistry:
    """A Registry; its adapters lie in `folder`, where tests may tamper with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.held: dict[int, RegisteredVersion] = {}
        self.aliases: dict[str, int] = {}
        self.runs: dict[str, MemoryRun] = {}

    @contextmanager
    def run(self, job_id: str, *, night_id: str = "") -> Iterator[MemoryRun]:
        run = self.runs.setdefault(job_id, MemoryRun())
        if night_id:
            self.runs[night_id] = run
        yield run

    @contextmanager
    def night_run(self, night_id: str, *, failed: bool = False) -> Iterator[MemoryRun]:
        run = self.runs.setdefault(night_id, MemoryRun())
        yield run
        run.failed = failed

    def require_own(self) -> None:
        """No other home can see it."""

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        require_adapter(folder, candidate.adapter_sha256, "the candidate", "train again")
        for found in self.held.values():
            if found.adapter_sha256 == candidate.adapter_sha256:
                return found.version
        version = max(self.held, default=0) + 1
        shutil.copytree(folder, self.folder / str(version))
        self.held[version] = RegisteredVersion(version, candidate.candidate_id, candidate.adapter_sha256, dict(tags))
        return version

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        found = self._found(version)
        self.held[version] = replace(found, tags={**found.tags, **tags}, description=text)

    def versions(self) -> tuple[RegisteredVersion, ...]:
        return tuple(self.held[version] for version in sorted(self.held))

    def fetch(self, version: int) -> Path:
        folder = self.folder / str(version)
        if adapter_sha256(folder) != self._found(version).adapter_sha256:
            raise IntegrityError(f"version {version} was altered", "use another version")
        return folder

    def alias(self, name: str) -> int | None:
        return self.aliases.get(name)

    def set_alias(self, name: str, version: int | None) -> None:
        if version is None:
            self.aliases.pop(name, None)
        else:
            self.aliases[name] = self._found(version).version

    def delete(self, version: int) -> None:
        """As in MLflow: allowed for the champion too, and its aliases go with it."""
        del self.held[version]
        self.aliases = {name: named for name, named in self.aliases.items() if named != version}

    def _found(self, version: int) -> RegisteredVersion:
        if version not in self.held:
            raise NotFoundError(f"there is no version {version}", f"name one of {sorted(self.held)}")
        return self.held[version]
