"""Which examples a step sees, and its learning rate: pure functions, so resuming needs no state."""

import math
import random
from collections.abc import Sequence

from loop.settings import TrainingSettings


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


def rate(share: float, settings: TrainingSettings) -> float:
    """Learning rate after `share` of the training: linear up to its peak, level, and half a cosine down to 0."""
    falling = max(settings.warmup_share, 1 - settings.decay_share)
    if share < settings.warmup_share:
        return settings.learning_rate * share / settings.warmup_share
    if share <= falling:
        return settings.learning_rate
    return settings.learning_rate * (1 + math.cos(math.pi * (share - falling) / (1 - falling))) / 2


def micro_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices grouped longest first, each group at most `budget` tokens once padded; a longer one stands alone."""
    groups: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if groups and lengths[groups[-1][0]] * (len(groups[-1]) + 1) <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
