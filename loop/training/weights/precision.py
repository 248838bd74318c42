"""Dtypes of a training: bfloat16 only where the hardware computes in it natively."""

from dataclasses import dataclass

import torch

from loop.models import native_bfloat16


@dataclass(frozen=True, slots=True)
class Precision:
    """Device and dtypes in which the model is computed."""

    device: str
    weights: torch.dtype
    """Dtype of the frozen base weights."""
    autocast: bool
    """Whether matrix products are computed in bfloat16."""


def choose(dtype: str, autocast: bool | None = None) -> Precision:
    """The first GPU, else the CPU; without autocast the base is held in float32.

    `autocast` is None for the rule: where the device computes in bfloat16 natively.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if autocast is None:
        # Emulated bfloat16 is no alternative: on a CPU with AVX2 alone a step took 12 times the CPU time of float32.
        autocast = native_bfloat16(device)
    weights = torch.bfloat16 if autocast and dtype == "bfloat16" else torch.float32
    return Precision(device, weights, autocast)
