"""What rounding alone makes of a training, from the same trainings with other counts of threads."""

from collections.abc import Iterable
from math import sqrt
from statistics import stdev


def spread(one: Iterable[float], other: Iterable[float]) -> float:
    """Standard deviation of a share that rounding alone makes: the two differ by twice its variance."""
    return stdev(a - b for a, b in zip(one, other, strict=True)) / sqrt(2)
