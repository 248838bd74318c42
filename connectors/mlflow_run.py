"""What one candidate logs to its MLflow run: settings, the metrics of each step, artifacts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from connectors.mlflow_client import explained

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 100
"""Parameters that MLflow takes in one request."""


@dataclass(frozen=True)
class MlflowRun:
    """`loop.ports.Run`."""

    client: "MlflowClient"
    uri: str
    run_id: str

    def log_settings(self, settings: Mapping[str, object]) -> None:
        """As parameters `section.key`. MLflow's are written once: those of an earlier attempt stand."""
        from mlflow.entities import Param

        with explained(self.uri):
            known = self.client.get_run(self.run_id).data.params
            fresh = [Param(key, str(value)) for key, value in _flat(settings).items() if key not in known]
            for start in range(0, len(fresh), _BATCH):
                self.client.log_batch(self.run_id, params=fresh[start : start + _BATCH])

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """All metrics of a step in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        with explained(self.uri):
            self.client.log_batch(
                self.run_id, metrics=[Metric(key, value, now, step) for key, value in metrics.items()]
            )

    def log_artifacts(self, path: Path, folder: str) -> None:
        """A file, or a whole folder, kept under `folder`."""
        log = self.client.log_artifacts if path.is_dir() else self.client.log_artifact
        with explained(self.uri):
            log(self.run_id, str(path), folder)


def _flat(settings: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """{"training": {"rank": 16}} as {"training.rank": 16}."""
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
