"""In which numbers training computes: bfloat16 only where the hardware does so natively."""

from dataclasses import dataclass

import torch

from loop.models import native_bfloat16
from loop.settings import TrainingSettings


@dataclass(frozen=True, slots=True)
class Precision:
    """Where and in what the model is computed."""

    device: str
    weights: torch.dtype
    """Of the frozen base."""
    autocast: bool
    """Matrix products in bfloat16."""


def choose(settings: TrainingSettings, dtype: str) -> Precision:
    """The first GPU, else the CPU; without autocast the base is held in float32.

    Emulated bfloat16 is no alternative: on a CPU with AVX2 alone a step took 12 times the CPU time of float32.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    autocast = settings.autocast == "bfloat16" or (settings.autocast == "auto" and native_bfloat16(device))
    weights = torch.bfloat16 if autocast and dtype == "bfloat16" else torch.float32
    return Precision(device, weights, autocast)
