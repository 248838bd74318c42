"""Which examples a step sees, and its learning rate: pure functions, so resuming needs no state."""

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


def progress(step: int, steps: int, seconds: float, budget: float) -> float:
    """Share of a training that lies behind the middle of `step` (from 0), by steps or by its budget of seconds.

    Whichever is further: a training that time will cut short still warms up and cools down. No budget is 0.
    """
    by_steps = (step + 0.5) / steps
    return min(1.0, max(by_steps, seconds / budget)) if budget else by_steps


def rate(share: float, peak: float, warmup_share: float) -> float:
    """Learning rate after `share` of the training: linear up to `peak`, then half a cosine to 0."""
    if share < warmup_share:
        return peak * share / warmup_share
    return peak * (1 + math.cos(math.pi * (share - warmup_share) / max(1e-9, 1 - warmup_share))) / 2


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped longest first, each group at most `budget` tokens once padded; a longer one stands alone."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
