"""One run in MLflow, as a job or a night logs to it: settings, the metrics of each step, artifacts, the snapshot."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.mlflow.client import explained
from loop.types import Snapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 100
"""Number of parameters that MLflow takes in one request."""
DIGEST = 36
"""Characters of a dataset's digest that MLflow's databases keep."""
NOTE = 8_000
"""Characters of a run's tag that MLflow takes."""


@dataclass(frozen=True)
class MlflowRun:
    """`loop.ports.Run`."""

    client: "MlflowClient"
    uri: str
    run_id: str

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """Log settings as parameters `section.key`; those that an earlier attempt logged stay."""
        from mlflow.entities import Param

        with explained(self.uri):
            # MLflow writes a parameter once and refuses another value, so known ones are left out.
            known = self.client.get_run(self.run_id).data.params
            fresh = [Param(key, str(value)) for key, value in _flat(settings).items() if key not in known]
            for start in range(0, len(fresh), _BATCH):
                self.client.log_batch(self.run_id, params=fresh[start : start + _BATCH])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log all metrics of a step in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with explained(self.uri):
            self.client.log_batch(
                self.run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()]
            )

    def log_artifacts(self, path: Path, folder: str) -> None:
        """Log a file, or a whole folder, under `folder`."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        with explained(self.uri):
            log(self.run_id, str(path), folder)

    def log_snapshot(self, snapshot: Snapshot, folder: Path) -> None:
        """Log a snapshot as an MLflow dataset, with the beginning of its id as digest and its counts as profile."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        counts = dict(snapshot.counts)
        dataset = Dataset(
            name="snapshot",
            digest=snapshot.snapshot_id[:DIGEST],
            source_type="local",
            source=json.dumps({"uri": folder.absolute().as_uri()}),
            profile=json.dumps({"num_rows": sum(counts.values()), **counts}),
        )
        with explained(self.uri):
            context = InputTag("mlflow.data.context", "training")
            self.client.log_inputs(self.run_id, [DatasetInput(dataset, [context])])

    def name(self, title: str, note: str, tags: Mapping[str, str]) -> None:
        """Set the run's name, its description (`note`, Markdown) and tags."""
        from mlflow.entities import RunTag

        shown = {"mlflow.note.content": note[:NOTE], **tags}
        with explained(self.uri):
            self.client.update_run(self.run_id, name=title)
            self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in shown.items()])


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as one level: {"training": {"rank": 16}} as {"training.rank": 16}."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
