"""Learning rate of every step, from the share of the training that is over: resuming it needs no state."""

import math

from loop.settings.constants import DECAY_SHARE, WARMUP_SHARE


def behind(step: int, steps: int, seconds: float, budget: float) -> float:
    """Share of a training that is over in the middle of `step` (from 0): the larger of the shares of steps and time.

    `budget` is the wall-clock budget in seconds, 0 for none.
    """
    # By time too: a training that its budget will cut short still warms up and cools down.
    by_steps = (step + 0.5) / steps
    return min(1.0, max(by_steps, seconds / budget)) if budget else by_steps


def rate(share: float, peak: float, warmup: float = WARMUP_SHARE, decay: float = DECAY_SHARE) -> float:
    """Learning rate after `share` of the training: linear up to its `peak`, level, and half a cosine down to 0."""
    # The fall begins after the rise also where both shares add up to more than 1.
    falling = max(warmup, 1 - decay)
    if share < warmup:
        return peak * share / warmup
    if share <= falling:
        return peak
    return peak * (1 + math.cos(math.pi * (share - falling) / (1 - falling))) / 2
