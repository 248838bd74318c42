"""Loading of the model of a training: the base model under the adapter, once there is free memory for its weights."""

from math import prod
from pathlib import Path

import torch
from peft import PeftModel
from safetensors import safe_open

from loop.machine import Machine
from loop.memory import Memory
from loop.models import readable
from loop.ports import Progress
from loop.settings import TrainingSettings
from loop.training import preflight, ranks
from loop.training.job import Job
from loop.training.waiting import await_memory
from loop.training.weights import adapters
from loop.training.weights.precision import Precision


def load_model(
    job: Job, computed: Precision, read: Memory, progress: Progress, machine: Machine
) -> tuple[PeftModel, bool]:
    """The base model under the adapter, and whether its frozen weights are divided over the processes.

    Raises LowMemoryError when the memory for the weights stays taken, and what `adapters.load` raises.
    """
    settings = job.settings
    device, quantized = torch.device(computed.device), _quantized(settings)
    with readable(job.base):
        weights = _weights_bytes(job.base, computed.weights, quantized=quantized)
    sharded = _sharded(weights, device, read, machine) and not quantized
    # A sharded model is read on the CPU, whole in every process; a GPU gets only its share.
    share = weights // ranks.count() if sharded and device.type == "cuda" else weights
    await_memory(share, "the model's weights", device, read, progress)
    model = adapters.load(
        job.base,
        job.parent,
        rank=settings.rank,
        seed=settings.seed,
        dtype=computed.weights,
        device=computed.device,
        sharded=sharded,
        quantized=quantized,
    )
    return model, sharded


def _quantized(settings: TrainingSettings) -> bool:
    match settings.quantize:
        case "nf4":
            return True
        case "none":
            return False


def _weights_bytes(base: Path, dtype: torch.dtype, *, quantized: bool) -> int:
    """Bytes that the weights in the folder `base` take once they are loaded in `dtype`, a third of it in four bits."""
    numbers = 0
    for file in base.glob("model*.safetensors"):
        # Shapes stand in a file's header, so no weights are read.
        with safe_open(file, "pt") as opened:
            numbers += sum(prod(opened.get_slice(name).get_shape()) for name in opened.keys())  # noqa: SIM118 - no dict
    return numbers * dtype.itemsize // (3 if quantized else 1)


def _sharded(weights: int, device: torch.device, read: Memory, machine: Machine) -> bool:
    """Whether frozen weights of so many bytes are divided over processes; a single process keeps them whole."""
    if ranks.count() == 1:
        return False
    if machine.shard is not None:
        return machine.shard
    return not all(ranks.everyones(preflight.fit_whole(weights, device, read)))
