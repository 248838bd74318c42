"""Input of a training and its report after every step: the values that `engine` takes and yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loop.settings import TrainingSettings
from loop.types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: its snapshot, parent, base, settings and seed, and the folders it works in."""

    job_id: str
    snapshot_id: str
    examples: tuple[Example, ...]
    """The train split."""
    base: Path
    """Folder of the base model."""
    parent: Path | None
    """Folder of the champion's adapter; None when the base model serves."""
    parent_version: int
    folder: Path
    """Folder of the checkpoints and, at the end, of the adapter and its manifest."""
    cache: Path
    """Folder of reference log-probabilities, shared by all nights."""
    settings: TrainingSettings
    dtype: str
    """Dtype of the frozen base weights: float32 or bfloat16."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step that has been taken."""

    step: int
    """Number of the step, from 1."""
    of: int
    """Steps planned in all."""
    seconds: float
    """Seconds of training so far, without interruptions."""
    eta_seconds: float
    """Expected seconds until the last step."""
    metrics: Mapping[str, float]
