"""Paired, clustered statistics between scores and decision, on NumPy and SciPy alone.

A user is one vote. Answers to one user resemble each other, so items are averaged within their cluster first, and every
test works on the cluster means x_1 .. x_G. With 5 items a user and an intra-cluster correlation of .3, a 5 % test that
counts items rejects a true null 14 % of the time. Scores lie in [0, 1], so differences lie in [-1, 1].
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]

EXACT_UP_TO = 14
"""Greatest number of clusters for which all 2^G sign assignments are enumerated."""
RANDOM_FLIPS = 20_000
POWER_Z = 0.84
"""Normal quantile of power .8, as in MDE = (z + .84) SE."""
_CHUNK = 2_000
"""Number of flips drawn together, in whole words of 32 bits.

Another number would draw other flips and give other p values than those of recorded decisions.
"""
_CACHED_NUMBERS = 1 << 18
"""Number of float64 that stay in the processor's cache: 2 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean difference over clusters, with its uncertainty."""

    items: int
    clusters: int
    mean: float
    standard_error: float
    low: float
    high: float
    """95 % interval: t with G - 1 degrees of freedom on the cluster means."""


def cluster_means(differences: Sequence[float], clusters: Sequence[str]) -> Floats:
    """Mean difference of each cluster, in the order of the clusters' names; shape (G,)."""
    # Sorted by name, as seeded flips go by position: the order of the items must not change a p value.
    names, index = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    totals = np.bincount(index, weights=np.asarray(differences, dtype=float), minlength=len(names))
    means: Floats = totals / np.bincount(index, minlength=len(names))
    return means


def estimate(means: Floats, items: int) -> Estimate:
    """Mean, standard error and 95 % interval of cluster means, shape (G,) with G >= 1.

    The interval is exact for normal cluster means and close for others from about G = 8 on. It is cut at -1 and 1, and
    needs no seed because nothing is resampled. One cluster says nothing of other users: its interval is [-1, 1].
    """
    count = len(means)
    mean = float(means.mean())
    if count == 1:
        return Estimate(items=items, clusters=1, mean=mean, standard_error=1.0, low=-1.0, high=1.0)
    error = float(means.std(ddof=1)) / math.sqrt(count)
    # Student's t, 2.5 % on either side.
    half = float(special.stdtrit(count - 1, 0.975)) * error
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    return Estimate(items=items, clusters=count, mean=mean, standard_error=error, low=low, high=high)


def sign_flip_p(means: Floats, seed: int) -> float:
    """One-sided p of a mean above 0: how often random signs of the cluster means reach the observed sum.

    Exact up to EXACT_UP_TO clusters. Above, RANDOM_FLIPS seeded flips with the observed one counted among them, so that
    p is never 0 and the test never exceeds its level (Phipson & Smyth 2010).
    """
    # Minus rounding, as an equal sum that was added in another order has to count as reached.
    threshold = float(means.sum()) - 1e-12 * float(np.abs(means).sum())
    if len(means) <= EXACT_UP_TO:
        return float(np.mean(_all_signs(len(means)) @ means >= threshold))
    reached = sum(int(np.count_nonzero(sums >= threshold)) for sums in _random_sums(means, seed))
    # Phipson & Smyth 2010, p = (b + 1) / (m + 1).
    return (reached + 1) / (RANDOM_FLIPS + 1)


def _all_signs(count: int) -> Floats:
    # The binary digits of 0 .. 2^G - 1, one assignment a row.
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    return np.where(bits, 1.0, -1.0)


def _random_sums(means: Floats, seed: int) -> Iterator[Floats]:
    """Sums of `means` under RANDOM_FLIPS random sign assignments, some at a time.

    A set bit is a plus, so a sum is twice that of the plus side less the total. The bits are drawn as bytes, and only
    so many rows become numbers at a time as fit the processor's cache: 7 times as fast as a matrix of signs.
    """
    rng = np.random.default_rng(seed)
    count, total = len(means), means.sum()
    rows = max(1, _CACHED_NUMBERS // count)
    for _ in range(RANDOM_FLIPS // _CHUNK):
        # Rounded up to whole words: a seed's flips, and so the p values of recorded decisions, depend on it.
        words = -(-_CHUNK * count // 32)
        drawn = np.frombuffer(rng.bytes(4 * words), dtype=np.uint8)
        bits = np.unpackbits(drawn, count=_CHUNK * count, bitorder="little").reshape(_CHUNK, count)
        for start in range(0, _CHUNK, rows):
            yield 2 * (bits[start : start + rows].astype(np.float64) @ means) - total


def minimum_detectable_effect(standard_error: float, z: float) -> float:
    """The least true effect that a one-sided test at critical value `z` finds with power .8."""
    return (z + POWER_Z) * standard_error


def non_inferior(found: Estimate, margin: float, z: float) -> bool:
    """Whether the lower bound mean - z SE lies above -margin."""
    return found.mean - z * found.standard_error > -margin


def critical_z(alpha: float) -> float:
    """The one-sided standard normal quantile z_{1 - alpha}."""
    return float(special.ndtri(1 - alpha))
