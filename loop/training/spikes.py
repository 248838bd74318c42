"""Steps that are better not taken."""

from collections.abc import Mapping, Sequence
from math import isfinite
from statistics import median

from loop.settings import TrainingSettings

SPIKE = 10.0
"""Times the usual gradient norm, and the one that is clipped to."""
REMEMBERED = 50
"""Steps that say what is usual."""


def is_spike(norm: float, history: Sequence[Mapping[str, float]], settings: TrainingSettings) -> bool:
    """Whether a gradient is so large that the step it asks for is better not taken."""
    before = [metrics["grad_norm"] for metrics in history[-REMEMBERED:]]
    usual = [*filter(isfinite, before)]
    return bool(usual) and norm > SPIKE * max(settings.max_grad_norm, median(usual))
