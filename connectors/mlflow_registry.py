"""The Registry on MLflow: one experiment per model, one run per candidate, one registered version per candidate.

A version's source is its run's artifact folder `adapter/`: plain files, nothing pickled, readable on MLflow's pages.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.mlflow_client import SQLITE, connect, explained
from connectors.mlflow_run import MlflowRun
from loop.errors import IntegrityError, NotFoundError, UsageError
from loop.hashing import ADAPTER_FILES, adapter_sha256
from loop.ports import RegisteredVersion
from loop.types import Candidate

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "adapter"
"""Artifact folder of a run that holds the candidate."""
MANIFEST = "manifest.json"
_OURS = {"candidate_id", "adapter_sha256"}
"""Tags of a version that we registered."""
_ABOUT = "LoRA adapters, trained, judged and promoted by Nightshift. Its ledger decides; the aliases follow."


@dataclass(frozen=True)
class MlflowRegistry:
    """`loop.ports.Registry` for one model; MLflow is imported and opened at the first call."""

    uri: str
    """`sqlite:///path/mlflow.db` (artifacts in a folder beside it) or the address of an MLflow server."""
    model: str
    downloads: Path
    """Fetched adapters are kept in `<downloads>/<version>/`."""

    @contextmanager
    def run(self, candidate_id: str) -> Iterator[MlflowRun]:
        """The run tagged with this candidate, opened again when it exists; FAILED when the block raises."""
        run_id = self._run_id(candidate_id)
        status = "FAILED"
        try:
            yield MlflowRun(self._client, self.uri, run_id)
            status = "FINISHED"
        finally:
            with explained(self.uri):
                self._client.set_terminated(run_id, status)

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        """Upload adapter and manifest and make them a version. Raises IntegrityError for altered files."""
        known = [found.version for found in self.versions() if found.candidate_id == candidate.candidate_id]
        if known:
            return known[0]
        _verify(folder, candidate.adapter_sha256, f"candidate {candidate.candidate_id}")
        run_id = self._run_id(candidate.candidate_id)
        with explained(self.uri):
            for name in (*ADAPTER_FILES, MANIFEST):
                if (folder / name).exists():
                    self._client.log_artifact(run_id, str(folder / name), FOLDER)
            self._ensure_model()
            made = self._client.create_model_version(
                self.model,
                f"runs:/{run_id}/{FOLDER}",
                run_id,
                tags={**_identity(candidate), **tags},
                description=_first_description(candidate),
            )
        return int(made.version)

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        """Set the Markdown that a reviewer reads on the version's page, and add tags."""
        with explained(self.uri):
            self._client.update_model_version(self.model, str(version), description=text)
            for key, value in tags.items():
                self._client.set_model_version_tag(self.model, str(version), key, value)

    def versions(self) -> tuple[RegisteredVersion, ...]:
        """Oldest first; versions that somebody registered by hand, without our tags, are left out."""
        ours = (found for found in self._model_versions() if found.tags.keys() >= _OURS)
        return tuple(sorted(map(_registered, ours), key=lambda found: found.version))

    def fetch(self, version: int) -> Path:
        """`<downloads>/<version>`, downloaded unless its bytes are already there. Verified on every call."""
        with explained(self.uri):
            found = self._client.get_model_version(self.model, str(version))
        target, expected = self.downloads / str(version), found.tags.get("adapter_sha256")
        if expected is None:
            raise IntegrityError(
                f"version {version} has no recorded sha256", "use a version that Nightshift registered"
            )
        if not _is_intact(target, expected):
            self._download(found.source, target, expected)
        return target

    def alias(self, name: str) -> int | None:
        """The version an alias names, read from the model: a search for versions gives no aliases (mlflow #16734)."""
        try:
            with explained(self.uri):
                named = self._client.get_registered_model(self.model).aliases.get(name)
        except NotFoundError:
            return None
        return None if named is None else int(named)

    def set_alias(self, name: str, version: int | None) -> None:
        """Raises NotFoundError when there is no such version."""
        with explained(self.uri):
            if version is not None:
                self._client.set_registered_model_alias(self.model, name, str(version))
            elif self.alias(name) is not None:
                self._client.delete_registered_model_alias(self.model, name)

    @cached_property
    def _client(self) -> "MlflowClient":
        return connect(self.uri)

    def _run_id(self, candidate_id: str) -> str:
        """The candidate's run, made when absent, and running again."""
        with explained(self.uri):
            experiment = self._experiment()
            found = self._client.search_runs([experiment], f"tags.candidate_id = '{candidate_id}'", max_results=1)
            if not found:
                tags = {"candidate_id": candidate_id}
                return str(self._client.create_run(experiment, tags=tags, run_name=candidate_id).info.run_id)
            run_id = str(found[0].info.run_id)
            self._client.update_run(run_id, status="RUNNING")
            return run_id

    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.model)
        if found is not None:
            return str(found.experiment_id)
        return str(self._client.create_experiment(self.model, artifact_location=self._artifact_root()))

    def _artifact_root(self) -> str | None:
        """Beside the SQLite file; a server knows its own place."""
        if not self.uri.startswith(SQLITE):
            return None
        database = Path(self.uri.removeprefix(SQLITE)).absolute()
        return (database.parent / f"{database.stem}-artifacts" / self.model).as_uri()

    def _ensure_model(self) -> None:
        try:
            with explained(self.uri):
                self._client.get_registered_model(self.model)
        except NotFoundError:
            self._client.create_registered_model(self.model, description=_ABOUT)

    def _model_versions(self) -> list["ModelVersion"]:
        found, token = [], None
        with explained(self.uri):
            while token != "":
                page = self._client.search_model_versions(f"name = '{self.model}'", page_token=token)
                found += page
                token = page.token or ""
        return found

    def _download(self, source: str, target: Path, expected: str) -> None:
        """Into a folder of its own first, so that `target` is whole or absent whoever else downloads."""
        from mlflow.artifacts import download_artifacts

        self.downloads.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.downloads) as building:
            try:
                with explained(self.uri):
                    fresh = Path(download_artifacts(artifact_uri=source, dst_path=building, tracking_uri=self.uri))
            except (NotFoundError, UsageError) as error:
                raise IntegrityError(
                    f"the files of {self.model}@{target.name} are not where the registry says: {error.what}",
                    "bring them back; a home folder that was moved has to be moved back, MLflow keeps its paths",
                ) from error
            _verify(fresh, expected, f"{self.model}@{target.name} in the registry")
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)


def _identity(candidate: Candidate) -> dict[str, str]:
    return {
        "candidate_id": candidate.candidate_id,
        "adapter_sha256": candidate.adapter_sha256,
        "snapshot_id": candidate.snapshot_id,
        "parent_version": str(candidate.parent_version),
        "base_fingerprint": candidate.base_fingerprint,
    }


def _first_description(candidate: Candidate) -> str:
    parent = f"version {candidate.parent_version}" if candidate.parent_version else "the base model"
    origin = f"continues {parent} on snapshot `{candidate.snapshot_id}`"
    return f"Candidate `{candidate.candidate_id}` {origin}. Not judged yet."


def _registered(found: "ModelVersion") -> RegisteredVersion:
    tags = dict(found.tags)
    return RegisteredVersion(int(found.version), tags["candidate_id"], tags["adapter_sha256"], tags)


def _is_intact(folder: Path, expected: str) -> bool:
    return all((folder / name).is_file() for name in ADAPTER_FILES) and adapter_sha256(folder) == expected


def _verify(folder: Path, expected: str, what: str) -> None:
    if not _is_intact(folder, expected):
        raise IntegrityError(
            f"the adapter of {what} does not have its recorded sha256 {expected[:12]}...",
            "do not serve it: restore the files from a backup, or use another version",
        )
