"""Checkpoints: a killed training continues from one as if nothing had happened.

The order of the examples and the learning rate are not kept: both follow from the step.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from loop import files
from loop.hashing import sha256_of
from loop.training.weights.adapters import put, trainable
from loop.training.weights.average import Average

_LOG = logging.getLogger(__name__)
FILE = "checkpoint.pt"
DIGEST_BYTES = 32
"""Length of the sha256 at the beginning of a file."""


@dataclass(frozen=True, slots=True)
class State:
    """Progress of a training, beside adapter and optimiser."""

    step: int = 0
    """Steps taken."""
    seconds: float = 0.0
    """Seconds of training so far, without interruptions."""
    budget: int = 0
    """Tokens of a forward pass; passes of another size would round differently."""
    delta: float = 0.0
    """Running mean reward of unpaired examples."""
    skipped: int = 0
    """Steps skipped because the loss or the gradient was not finite, or the gradient was a spike."""
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


def resume(folder: Path, key: str, model: nn.Module, optimizer: Optimizer, average: Average) -> State:
    """The state kept in `folder`, with adapter, optimiser and average set to it; a fresh state where there is none.

    A checkpoint that is damaged or of another job is given up. The log says whether the training continues or begins
    anew; it also names checkpoints beside `folder` that other trainings of the same snapshot left. `key` begins with
    the snapshot's id.
    """
    kept = read(folder / FILE)
    if kept is None:
        for other in _stopped(folder, key):
            _LOG.warning("%s stopped with other settings or another parent: with those it would go on", other)
        return State()
    if kept["key"] != key:
        _LOG.warning("%s is of another job or precision: the training begins anew", folder / FILE)
        return State()
    # Earlier versions also kept what they had seen of the dev split.
    known = {name: value for name, value in kept["state"].items() if name in State.__dataclass_fields__}
    state = State(**{**known, "history": tuple(known["history"])})
    put(model, kept["adapter"])
    optimizer.load_state_dict(kept["optimizer"])
    average.recall(kept.get("average", {}), model)
    _LOG.warning("the training goes on after step %s and %.0f s", state.step, state.seconds)
    return state


def discard(folder: Path) -> None:
    """Remove the checkpoint of a training that has ended."""
    (folder / FILE).unlink(missing_ok=True)
    for file in files.unfinished(folder):
        file.unlink(missing_ok=True)


def _stopped(folder: Path, key: str) -> list[Path]:
    """Folders beside `folder` with a checkpoint of the same snapshot."""
    snapshot = key.partition(" ")[0]
    found = []
    for file in folder.parent.glob(f"*/{FILE}"):
        if file.parent == folder:
            continue
        kept = read(file)
        if kept and kept["key"].partition(" ")[0] == snapshot:
            found.append(file.parent)
    return found


def _adapter(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in trainable(model).items()}


def _write(file: Path, content: object) -> None:
    """Write `content` behind its sha256, whole or not at all."""
    # In memory first, since the hash of all bytes stands before them.
    buffer = BytesIO()
    torch.save(content, buffer)
    files.write(file, _digest(buffer.getbuffer()), buffer.getbuffer())


def read(file: Path) -> dict[str, Any] | None:
    """Content of a checkpoint file; None where it is absent, or damaged, which is logged."""
    if not file.exists():
        return None
    # An old or half-lost file costs its own work and not the night, whichever error torch reads it with.
    try:
        loaded: dict[str, Any] = torch.load(_verified(file), map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, UnpicklingError, ValueError) as error:
        _LOG.warning("%s is damaged and counts as none: %s", file, str(error).partition("\n")[0])
        return None
    return loaded


def _verified(file: Path) -> BytesIO:
    """The bytes that were saved. Raises ValueError for a wrong bit, which torch.load would not notice."""
    with file.open("rb") as kept:
        digest, content = kept.read(DIGEST_BYTES), kept.read()
    if digest != _digest(content):
        raise ValueError("its sha256 is another")
    return BytesIO(content)


def _digest(content: bytes | memoryview) -> bytes:
    return bytes.fromhex(sha256_of(content))
