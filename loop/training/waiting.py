"""Wait for free memory: before a training loads its model, and before its first step."""

import logging
import time
from itertools import count

import torch

from loop import memory
from loop.errors import LowMemoryError
from loop.memory import Memory
from loop.ports import Progress
from loop.training import ranks

_LOG = logging.getLogger(__name__)


def await_memory(need: int, what: str, device: torch.device, read: Memory, progress: Progress) -> None:
    """Return when every process of this training may take `need` bytes; `what` names their use, in the plural.

    Raises LowMemoryError when that takes longer than the patience of `read`.
    """
    # Patience in looks, not seconds, so that all processes give up at the same look.
    patience = int(read.patience_seconds / read.look_seconds)
    for look in count():
        # The scarcest process decides for all: if one began alone, it would wait for the others in its first exchange.
        left = min(ranks.everyones(_free(device, read) // ranks.sharing(device)))
        if left >= need:
            break
        said = f"{what} need {need / 2**30:.2f} GiB, {left / 2**30:.2f} GiB of memory are free"
        if look == patience:
            raise LowMemoryError(
                f"the training did not begin: {said} after {read.patience_seconds / 60:.0f} minutes of waiting",
                "end what else takes memory, or lower `max_tokens` under [training]; the next "
                "night trains on the same feedback",
            )
        if not look:
            _LOG.warning("the training waits: %s", said)
        progress("train", 0, 1, f"waits for memory: {said}")
        time.sleep(read.look_seconds)
    if look:
        _LOG.warning("the training begins: %.2f GiB of memory are free", left / 2**30)


def _free(device: torch.device, read: Memory) -> int:
    """Bytes that may be taken now; memory of a GPU that torch holds without using it counts as free."""
    if device.type != "cuda":
        return memory.free(read)
    held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    free: int = torch.cuda.mem_get_info(device)[0]
    return free + held
