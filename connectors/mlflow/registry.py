"""The Registry on MLflow: one experiment per model, one run per job, one registered version per candidate.

A version's source is its run's artifact folder `adapter/<candidate_id>`: plain files, nothing pickled, readable on
MLflow's pages. Each candidate has a folder of its own: a job whose training is run again can come to other bytes.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.mlflow import model
from connectors.mlflow.client import SQLITE, connect, explained
from connectors.mlflow.pyfunc import write_model
from connectors.mlflow.run import MlflowRun
from loop.errors import IntegrityError, NotFoundError, UsageError
from loop.files import place_folder
from loop.hashing import ADAPTER_FILES, is_adapter, require_adapter
from loop.home import MANIFEST
from loop.ports import BASE_MODEL, DTYPE, Ledger, RegisteredVersion
from loop.types import Candidate

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "adapter"
"""Artifact folder of a run in which its candidates lie."""
TRAIN_AGAIN = "remove that folder and run the training again: what it makes is judged anew"
NEVER_SERVE = "do not serve it: restore the files from a backup, or use another version"
DESCRIPTION = 5_000
"""Characters that MLflow's databases keep of a description; PostgreSQL refuses a longer one."""
_OURS = {"candidate_id", "adapter_sha256"}
"""Tags of every version that we registered."""
_EXPERIMENT = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "A run is a training, named by its night, the gate's verdict and its version.",
}
"""Tags of the experiment; without them MLflow's page asks for its kind, and shows the pages of another kind."""
_SOURCE = {"mlflow.source.name": "nightshift", "mlflow.source.type": "JOB"}
"""Tags of a run from which MLflow's page says what made the run."""


@dataclass(frozen=True)
class MlflowRegistry:
    """`loop.ports.Registry` for one model; MLflow is imported and opened at the first call."""

    uri: str
    """Address: `sqlite:///path/mlflow.db` (artifacts in a folder beside it) or that of an MLflow server."""
    model: str
    downloads: Path
    """Folder of fetched adapters, each in `<downloads>/<version>/`."""
    ledger: Ledger
    """The ledger whose champions the model's aliases name; nothing is written to another ledger's model."""

    def run(self, job_id: str, *, night_id: str = "") -> AbstractContextManager[MlflowRun]:
        """The run tagged with this job, opened again when it exists; it ends as FAILED when the block raises."""
        return self._opened(self._job_run(job_id, night_id))

    def night_run(self, night_id: str, *, failed: bool = False) -> AbstractContextManager[MlflowRun]:
        """The run tagged with this night, opened again when it exists."""
        return self._opened(self._night_run(night_id), failed=failed)

    @contextmanager
    def _opened(self, run_id: str, *, failed: bool = False) -> Iterator[MlflowRun]:
        # FAILED until the block has ended well; a KeyboardInterrupt counts too.
        status = "FAILED"
        try:
            yield MlflowRun(self._writer, self.uri, run_id)
            status = "FAILED" if failed else "FINISHED"
        finally:
            with explained(self.uri):
                self._writer.set_terminated(run_id, status)

    def require_own(self) -> None:
        """Raises UsageError when the model is another ledger's."""
        if found := model.find(self._client, self.uri, self.model):
            model.require_own(found, self.uri, self.ledger.ledger_id())

    def register(self, candidate: Candidate, folder: Path, tags: Mapping[str, str]) -> int:
        """Upload adapter and manifest and make a version of them. Raises IntegrityError for altered files."""
        require_adapter(folder, candidate.adapter_sha256, f"candidate {candidate.candidate_id}", TRAIN_AGAIN)
        known = [found.version for found in self.versions() if found.adapter_sha256 == candidate.adapter_sha256]
        # Registering is safe to repeat, as a night does that goes on after a crash.
        if known:
            return known[0]
        source = f"{FOLDER}/{candidate.candidate_id}"
        with self.run(candidate.job_id) as run, explained(self.uri):
            for name in chain(ADAPTER_FILES, [MANIFEST]):
                if (folder / name).exists():
                    self._writer.log_artifact(run.run_id, str(folder / name), source)
            # Other programs load a version by these files, and have to know its base model.
            if BASE_MODEL in tags:
                with tempfile.TemporaryDirectory() as beside:
                    write_model(Path(beside), candidate, tags[BASE_MODEL], tags[DTYPE])
                    self._writer.log_artifacts(run.run_id, beside, source)
            made = self._writer.create_model_version(
                self.model,
                f"runs:/{run.run_id}/{source}",
                run.run_id,
                tags={**_identity(candidate), **tags},
                description=_first_description(candidate),
            )
        return int(made.version)

    def describe(self, version: int, text: str, tags: Mapping[str, str]) -> None:
        """Set the Markdown that a reviewer reads on the version's page, and add tags."""
        with explained(self.uri):
            self._writer.update_model_version(self.model, str(version), description=text[:DESCRIPTION])
            for key, value in tags.items():
                self._writer.set_model_version_tag(self.model, str(version), key, value)

    def versions(self) -> tuple[RegisteredVersion, ...]:
        """All versions, oldest first, without those that somebody registered by hand, which lack our tags."""
        found = model.versions_of(self._client, self.uri, self.model)
        ours = [version for version in found if version.tags.keys() >= _OURS]
        return tuple(sorted(map(_registered, ours), key=lambda found: found.version))

    def fetch(self, version: int) -> Path:
        """The folder `<downloads>/<version>`, downloaded unless its bytes are already there; verified on every call."""
        with explained(self.uri):
            found = self._client.get_model_version(self.model, str(version))
        target, expected = self.downloads / str(version), found.tags.get("adapter_sha256")
        if expected is None:
            raise IntegrityError(
                f"version {version} has no recorded sha256", "use a version that Nightshift registered"
            )
        # A copy that was altered on this disk is fetched again.
        if not is_adapter(target, expected):
            self._download(found.source, target, expected)
        return target

    def alias(self, name: str) -> int | None:
        """The version that an alias names; None when the alias, or the model, does not exist."""
        # Read from the model, because a search for versions returns no aliases (mlflow #16734).
        try:
            with explained(self.uri):
                named = self._client.get_registered_model(self.model).aliases.get(name)
        except NotFoundError:
            return None
        return None if named is None else int(named)

    def set_alias(self, name: str, version: int | None) -> None:
        """Let an alias name `version`; None removes it. Raises NotFoundError when there is no such version."""
        with explained(self.uri):
            if version is not None:
                self._writer.set_registered_model_alias(self.model, name, str(version))
            elif self.alias(name) is not None:
                self._writer.delete_registered_model_alias(self.model, name)

    @cached_property
    def _client(self) -> "MlflowClient":
        return connect(self.uri)

    @cached_property
    def _writer(self) -> "MlflowClient":
        """The client for everything that writes; the model is known to be our ledger's."""
        model.claim(self._client, self.uri, self.model, self.ledger)
        return self._client

    def _job_run(self, job_id: str, night_id: str) -> str:
        """The id of a job's newest run, set to running; the run is made when absent or when it is another night's."""
        with explained(self.uri):
            # Runs of 0.1.0 have no job_id: their candidate_id is the job's.
            found = self._newest("job_id", job_id) or self._newest("candidate_id", job_id)
            if found is None or night_id not in {"", found.data.tags.get("night_id", night_id)}:
                return self._make_run(night_id or job_id, {"job_id": job_id, "night_id": night_id})
            # A training that was begun by hand becomes the run of the night that finishes it.
            if night_id:
                self._writer.set_tag(found.info.run_id, "night_id", night_id)
            return self._again(found)

    def _night_run(self, night_id: str) -> str:
        with explained(self.uri):
            found = self._newest("night_id", night_id)
            return self._again(found) if found else self._make_run(night_id, {"night_id": night_id})

    def _newest(self, tag: str, value: str) -> "Run | None":
        found = self._client.search_runs([self._experiment], f"tags.{tag} = '{value}'", max_results=1)
        return found[0] if found else None

    def _make_run(self, name: str, tags: Mapping[str, str]) -> str:
        known = {**_SOURCE, **{tag: value for tag, value in tags.items() if value}}
        return str(self._writer.create_run(self._experiment, tags=known, run_name=name).info.run_id)

    def _again(self, found: "Run") -> str:
        self._writer.update_run(found.info.run_id, status="RUNNING")
        return str(found.info.run_id)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self.model)
        if found is None:
            return str(self._writer.create_experiment(self.model, self._artifact_root(), tags=_EXPERIMENT))
        # Only the tags that are absent: what a person has chosen stands.
        for key in _EXPERIMENT.keys() - found.tags.keys():
            self._writer.set_experiment_tag(found.experiment_id, key, _EXPERIMENT[key])
        return str(found.experiment_id)

    def _artifact_root(self) -> str | None:
        """The artifacts' address beside the SQLite file; None for a server, which knows its own place."""
        if not self.uri.startswith(SQLITE):
            return None
        database = Path(self.uri.removeprefix(SQLITE)).absolute()
        return (database.parent / f"{database.stem}-artifacts" / self.model).as_uri()

    def _download(self, source: str, target: Path, expected: str) -> None:
        """Download a version's files into `target`, which is whole or absent whoever else downloads."""
        from mlflow.artifacts import download_artifacts

        self.downloads.mkdir(parents=True, exist_ok=True)
        # Below `downloads`, as a rename works only within one file system.
        with tempfile.TemporaryDirectory(dir=self.downloads) as building:
            try:
                with explained(self.uri):
                    fresh = Path(download_artifacts(artifact_uri=source, dst_path=building, tracking_uri=self.uri))
            except (NotFoundError, UsageError) as error:
                raise IntegrityError(
                    f"the files of {self.model}@{target.name} are not where the registry says: {error.what}",
                    "bring them back; a home folder that was moved has to be moved back, MLflow keeps its paths",
                ) from error
            require_adapter(fresh, expected, f"{self.model}@{target.name} in the registry", NEVER_SERVE)
            shutil.rmtree(target, ignore_errors=True)
            place_folder(fresh, target)


def _identity(candidate: Candidate) -> dict[str, str]:
    return {
        "candidate_id": candidate.candidate_id,
        "job_id": candidate.job_id,
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
    return RegisteredVersion(
        version=int(found.version),
        candidate_id=tags["candidate_id"],
        adapter_sha256=tags["adapter_sha256"],
        base_fingerprint=tags.get("base_fingerprint"),
        tags=tags,
        description=found.description or "",
    )
