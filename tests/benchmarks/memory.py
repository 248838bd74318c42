"""Memory of this process: of the GPU where there is one, else resident."""

import ctypes
from pathlib import Path

import psutil
import torch


def now() -> float:
    """MiB in use."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**20
    resident: int = psutil.Process().memory_info().rss
    return resident / 2**20


def give_back() -> None:
    """Let others have what is free, so that trainers whose turns alternate do not add up."""
    if not torch.cuda.is_available():
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def forget_peak() -> None:
    """Count the highest use from here on."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """MiB at the highest use since `forget_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**10
