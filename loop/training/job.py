"""What a training is asked to do and what it reports after every step: the values `engine` takes and yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loop.settings import TrainingSettings
from loop.types import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: what it is made from, and where it works."""

    job_id: str
    snapshot_id: str
    examples: tuple[Example, ...]
    """The train split."""
    dev: tuple[Example, ...]
    """The dev split, for early stopping; none where `patience` is 0."""
    base: Path
    """Folder of the base model."""
    parent: Path | None
    """Folder of the champion's adapter; None when the base model serves."""
    parent_version: int
    folder: Path
    """Where checkpoints go, and in the end the adapter and its manifest."""
    cache: Path
    """Folder of reference log-probabilities, shared by all nights."""
    settings: TrainingSettings
    dtype: str
    """Of the frozen base weights: float32 or bfloat16."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step that has been taken."""

    step: int
    """From 1."""
    of: int
    seconds: float
    """Of training so far, interruptions left out."""
    eta_seconds: float
    metrics: Mapping[str, float]
