"""Dtypes in which a machine computes natively."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def native_bfloat16(device: str) -> bool:
    """Whether `device` multiplies bfloat16 matrices in hardware; False for a CPU that torch cannot describe."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    has = any(capabilities.get(feature) for feature in ("avx512_bf16", "amx_bf16", "bf16"))
    # oneDNN multiplies them, and may have been told not to use what the CPU has (ONEDNN_MAX_CPU_ISA).
    return has and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001 - torch has no public reader


def compute_dtype(dtype: str, device: str) -> "torch.dtype":
    """Dtype in which the weights are held: float32 instead of a bfloat16 that the machine would emulate."""
    import torch

    # Emulated bfloat16 was measured 7 times slower. Every bfloat16 is a float32, so the weights are the same numbers.

    return torch.bfloat16 if dtype == "bfloat16" and native_bfloat16(device) else torch.float32
