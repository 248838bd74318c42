"""How many tokens a forward pass may have, found out before the first one runs out of memory."""

import logging
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.distributed.tensor import DTensor

from loop.errors import TrainingError
from loop.training import ranks
from loop.training.adapters import all_kept, checkpointed
from loop.training.logps import Scorer, score
from loop.training.tokens import Encoded

_LOG = logging.getLogger(__name__)
SHARE = 0.5
"""Of the memory that is free, for what a pass keeps until its backward; the rest is for what comes and goes."""
SMALLEST, LARGEST = 256, {"cpu": 8_192, "cuda": 65_536}
"""Tokens of an automatic budget; more is no faster."""
CGROUP = Path("/sys/fs/cgroup")


def budget(scorer: Scorer, probe: Encoded, largest: Encoded, wanted: int = 0) -> int:
    """Tokens of a pass: `wanted`, or 0 for a power of two, and no more than fit; `probe` is scored once to find out.

    Says so in the log when fewer fit than are wanted: what is learnt is the same. Raises TrainingError, with the
    figures, when `largest` alone would not fit.
    """
    each = bytes_per_token(scorer, probe)
    room = _room(scorer.model.device)
    fitting = int(room / each)
    _require(largest.size, each, room)
    if wanted > fitting:
        said = "`micro_batch_tokens` is lowered to %s: a pass of %s tokens %s"
        _LOG.warning(said, f"{fitting:,}", f"{wanted:,}", _needs(wanted, each, room))
    if wanted:
        return min(wanted, fitting)
    return 1 << (min(max(fitting, SMALLEST), LARGEST[scorer.model.device.type]).bit_length() - 1)


def require_room(rows: Scorer, probe: Encoded, largest: Encoded) -> None:
    """Raises TrainingError, with the figures, when `largest` would not fit.

    For the time before it is known how examples are laid out, which takes a pass over the largest: `rows` gives each
    answer a row.
    """
    each = bytes_per_token(rows, probe) * probe.size / rows.size([probe])
    _require(largest.size, each, _room(rows.model.device))


def _room(device: torch.device) -> float:
    """Bytes that a pass may keep."""
    return SHARE * (free_bytes(device) // _sharing(device))


def _require(tokens: int, each: float, room: float) -> None:
    if tokens > int(room / each):
        raise TrainingError(
            f"an example of {tokens:,} tokens {_needs(tokens, each, room)}",
            f"set `max_tokens` under [training] to {int(room / each):,} or less, or train where more memory is free",
        )


def _needs(tokens: int, each: float, room: float) -> str:
    return (
        f"needs {tokens * each / 2**30:.2f} GiB for its activations ({each / 2**20:.2f} MiB a token), "
        f"{room / 2**30:.2f} GiB may be used"
    )


def bytes_per_token(scorer: Scorer, example: Encoded) -> float:
    """Bytes that a pass keeps for its backward for each of its tokens, the weights left out.

    With activation checkpoints that is the input of each layer and all of one layer at a time.
    """
    layers = checkpointed(scorer.model)
    with all_kept(scorer.model):
        whole = _kept(scorer, example) / example.size
    if not layers:
        return whole
    inputs: int = len(layers) * scorer.model.config.hidden_size * scorer.model.dtype.itemsize
    return whole / len(layers) + inputs


def _kept(scorer: Scorer, example: Encoded) -> int:
    whole = (parameter for parameter in scorer.model.parameters() if not isinstance(parameter, DTensor))
    weights = {parameter.untyped_storage().data_ptr() for parameter in whole}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:
        """Nobody goes back through this pass; an operation that kept its own result would keep itself, for ever."""
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage

    with torch.enable_grad(), saved_tensors_hooks(keep, lambda nothing: nothing):
        score(scorer, [example])
    return sum(storage.nbytes() for place, storage in kept.items() if place not in weights)


def free_bytes(device: torch.device) -> int:
    """Memory that may still be taken: of the GPU, or of this machine and the control group this process is in."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free
    [available] = [line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")]
    return min([int(available.split()[1]) * 1024, *_left_in_group()])


def _sharing(device: torch.device) -> int:
    """Processes that take from the same memory: each has a GPU of its own, where there are any."""
    return 1 if device.type == "cuda" else ranks.count()


def _left_in_group() -> list[int]:
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if not limit.exists() or (most := limit.read_text().strip()) == "max":
        return []
    return [int(most) - int(used.read_text())]
