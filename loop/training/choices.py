"""Choices that a training made for its machine, as its manifest keeps them."""

import os
import platform

import torch

from loop.memory import Memory
from loop.training import preflight, ranks
from loop.training.forward.logps import Scorer
from loop.training.weights.activations import checkpointed
from loop.training.weights.precision import Precision
from loop.types import Json


def for_rounding(scorer: Scorer, computed: Precision, pass_tokens: int) -> dict[str, Json]:
    """Everything beside the job that rounding depends on: the size of passes, the processor and how it computes."""
    cuda = computed.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "instruction_set": "" if cuda else _instruction_set(),
        "threads": torch.get_num_threads(),
        "processes": ranks.count(),
        "weights": str(computed.weights).removeprefix("torch."),
        "autocast": "bfloat16" if computed.autocast else "off",
        "layout": "rows" if scorer.attention is None else scorer.attention.__name__,
        "pass_tokens": pass_tokens,
    }


def _instruction_set() -> str:
    """Instruction sets of the CPU: of torch's own kernels, and of oneDNN, which multiplies bfloat16, or its limit."""
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    used = [torch.backends.cpu.get_cpu_capability()]
    # A limit set in the environment makes another kernel multiply, whatever the CPU can do.
    used += [limit] if limit else [name for name in ("avx512_bf16", "amx_bf16", "bf16") if can.get(name)]
    return " ".join(used)


def for_memory(scorer: Scorer, read: Memory) -> dict[str, Json]:
    """Choices on which rounding does not depend, and the installed memory from which they follow."""
    return {
        "sharded": scorer.sharded,
        "activation_checkpoints": bool(checkpointed(scorer.model)),
        "installed_bytes": preflight.installed(scorer.model.device, read),
    }
