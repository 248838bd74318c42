"""What a killed training needs to go on as if nothing had happened; order and learning rate follow from the step."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim import Optimizer

from loop.training.adapters import trainable

FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands, beside adapter and optimiser."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Of training so far, interruptions left out."""
    delta: float = 0.0
    """Running mean reward of unpaired examples."""
    skipped: int = 0
    """Steps left out because loss or gradient was not finite."""
    history: tuple[Mapping[str, float], ...] = ()
    """Metrics of every step."""


def save(folder: Path, key: str, state: State, model: nn.Module, optimizer: Optimizer) -> None:
    """Replace the checkpoint in `folder` in one move."""
    folder.mkdir(parents=True, exist_ok=True)
    building = folder / f"{FILE}.part"
    adapter = {name: parameter.detach() for name, parameter in trainable(model).items()}
    kept = {**asdict(state), "history": list(state.history)}
    torch.save({"key": key, "state": kept, "adapter": adapter, "optimizer": optimizer.state_dict()}, building)
    building.replace(folder / FILE)


def resume(folder: Path, key: str, model: nn.Module, optimizer: Optimizer) -> State:
    """The state kept in `folder`, adapter and optimiser set to it; the beginning where this job has kept none."""
    file = folder / FILE
    if not file.exists():
        return State()
    kept = torch.load(file, map_location="cpu", weights_only=True)
    if kept["key"] != key:
        return State()
    with torch.no_grad():
        for name, parameter in trainable(model).items():
            parameter.copy_(kept["adapter"][name])
    optimizer.load_state_dict(kept["optimizer"])
    return State(**{**kept["state"], "history": tuple(kept["state"]["history"])})


def discard(folder: Path) -> None:
    """Remove the checkpoint of a training that has ended."""
    (folder / FILE).unlink(missing_ok=True)
