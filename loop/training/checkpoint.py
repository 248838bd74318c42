"""What a killed training needs to go on as if nothing had happened; order and learning rate follow from the step."""

import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from math import inf
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from loop.errors import TrainingError
from loop.training.weights.adapters import put, trainable
from loop.training.weights.average import Average

_LOG = logging.getLogger(__name__)
FILE = "checkpoint.pt"


@dataclass(frozen=True, slots=True)
class State:
    """Where a training stands, beside adapter and optimiser."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Of training so far, interruptions left out."""
    budget: int = 0
    """Tokens of a forward pass: another one would round otherwise."""
    delta: float = 0.0
    """Running mean reward of unpaired examples."""
    skipped: int = 0
    """Steps left out because loss or gradient was not finite or leapt."""
    best: float = inf
    """Lowest loss on the dev split so far."""
    best_step: int = 0
    """The step after which it was seen; 0 before the first look."""
    since: int = 0
    """Looks at the dev split since then."""
    history: tuple[Mapping[str, float], ...] = ()
    """Metrics of every step."""


def save(folder: Path, key: str, state: State, model: nn.Module, optimizer: Optimizer, average: Average) -> None:
    """Replace the checkpoint in `folder` in one move."""
    kept = {**asdict(state), "history": list(state.history)}
    content = {
        "key": key,
        "state": kept,
        "adapter": _adapter(model),
        "optimizer": optimizer.state_dict(),
        "average": asdict(average),
    }
    _write(folder / FILE, content)
    for file in _best_files(folder):
        if file != _best(folder, state.best_step):
            file.unlink()


def save_best(folder: Path, state: State, model: nn.Module) -> None:
    """Keep the adapter that `state` says is the best; those before it stay until a checkpoint no longer names them."""
    _write(_best(folder, state.best_step), _adapter(model))


def recall_best(folder: Path, state: State, model: nn.Module) -> None:
    """Set the adapter to the best one, if the dev split was ever looked at. Raises TrainingError when it is damaged."""
    if not state.best_step:
        return
    kept = read(_best(folder, state.best_step))
    if kept is None:
        raise TrainingError(
            f"the best adapter, of step {state.best_step}, was damaged or removed while the training went on",
            "run the night again: it trains anew",
        )
    put(model, kept)


def resume(folder: Path, key: str, model: nn.Module, optimizer: Optimizer, average: Average) -> State:
    """The state kept in `folder`, with adapter, optimiser and average set to it; else the beginning.

    It begins where this job has kept none whole. A checkpoint is either gone on with or given up, and the log says
    which; also of one that another training of the same snapshot, by which `key` begins, has left beside `folder`.
    """
    kept = read(folder / FILE)
    if kept is None:
        for other in _stopped(folder, key):
            _LOG.warning("%s stopped with other settings or another parent: with those it would go on", other)
        return State()
    if kept["key"] != key:
        _LOG.warning("%s is of another job or precision: the training begins anew", folder / FILE)
        return State()
    state = State(**{**kept["state"], "history": tuple(kept["state"]["history"])})
    if state.best_step and read(best := _best(folder, state.best_step)) is None:
        _LOG.warning("the best adapter so far cannot be had from %s: the training begins anew", best)
        return State()
    put(model, kept["adapter"])
    optimizer.load_state_dict(kept["optimizer"])
    average.recall(kept.get("average", {}), model)
    _LOG.warning("the training goes on after step %s and %.0f s", state.step, state.seconds)
    return state


def discard(folder: Path) -> None:
    """Remove what a training that has ended kept for itself."""
    for file in (folder / FILE, *_best_files(folder)):
        file.unlink(missing_ok=True)


def _stopped(folder: Path, key: str) -> list[Path]:
    snapshot = key.partition(" ")[0]
    others = (file for file in folder.parent.glob(f"*/{FILE}") if file.parent != folder)
    return [file.parent for file in others if (kept := read(file)) and kept["key"].partition(" ")[0] == snapshot]


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in trainable(model).items()}


def _write(file: Path, content: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    building = file.with_name(f"{file.name}.part")
    buffer = BytesIO()
    torch.save(content, buffer)
    with building.open("wb") as part:
        part.write(sha256(buffer.getbuffer()).digest())
        part.write(buffer.getbuffer())
        part.flush()
        os.fsync(part.fileno())
    building.replace(file)


def read(file: Path) -> dict[str, Any] | None:
    """None where there is no file, or a damaged one, which the log then names."""
    if not file.exists():
        return None
    try:
        loaded: dict[str, Any] = torch.load(_verified(file), map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, UnpicklingError, ValueError) as error:
        _LOG.warning("%s is damaged and counts as none: %s", file, str(error).partition("\n")[0])
        return None
    return loaded


def _verified(file: Path) -> BytesIO:
    """What was saved; torch.load would not see a wrong bit. Raises ValueError for one."""
    with file.open("rb") as kept:
        digest, content = kept.read(sha256().digest_size), kept.read()
    if digest != sha256(content).digest():
        raise ValueError("its sha256 is another")
    return BytesIO(content)


def _best(folder: Path, step: int) -> Path:
    return folder / f"best-{step}.pt"


def _best_files(folder: Path) -> list[Path]:
    return [*folder.glob("best-*.pt")]
