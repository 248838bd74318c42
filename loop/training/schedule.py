"""Which examples a step sees, and its learning rate: pure functions of seed and step, so resuming needs no state."""

import math
import random
from collections.abc import Sequence


def batches(examples: int, epochs: float, batch: int, seed: int) -> list[list[int]]:
    """Indices of the examples of every step: each epoch in its own order, the last one as far as `epochs` says."""
    order: list[int] = []
    for epoch in range(math.ceil(epochs)):
        indices = list(range(examples))
        random.Random(f"{seed}/{epoch}").shuffle(indices)
        order += indices
    order = order[: max(1, round(examples * epochs))]
    return [order[start : start + batch] for start in range(0, len(order), batch)]


def rate(step: int, steps: int, peak: float, warmup_share: float) -> float:
    """Learning rate of `step` (from 0): linear up to `peak`, then half a cosine towards 0."""
    warmup = math.ceil(warmup_share * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped longest first, each group at most `budget` tokens once padded; a longer one stands alone."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
