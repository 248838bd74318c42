"""Gradient spikes: optimiser steps that are better skipped."""

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median

from loop.settings.constants import MAX_GRAD_NORM

SPIKE = 10.0
"""Multiple of the usual gradient norm above which a step is skipped; the norm of clipping, where that is larger."""
REMEMBERED = 50
"""Number of latest steps whose median norm is the usual one."""


def is_spike(norm: float, history: Sequence[Mapping[str, float]]) -> bool:
    """Whether the gradient norm `norm` is so far above the usual that its step is better skipped."""
    before = [metrics["grad_norm"] for metrics in history[-REMEMBERED:]]
    # Skipped steps stand in the history too, also those whose norm was inf or NaN: they would spoil the median.
    usual = list(filter(isfinite, before))
    # Clipping bounds a step already, so a norm is a spike only beside that norm too; without a history none is.
    return bool(usual) and norm > SPIKE * max(MAX_GRAD_NORM, median(usual))
