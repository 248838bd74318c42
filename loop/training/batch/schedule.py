"""Which examples a step sees, and its learning rate: pure functions, so resuming needs no state."""

import math
import random
from collections.abc import Sequence
from itertools import accumulate, chain

from loop.settings import TrainingSettings
from loop.training.batch.tokens import Encoded

MOST_SHOWINGS = 8
"""Of an example for the sake of `min_steps`: more of them teach no more (tests/benchmarks/README.md)."""


def showings(examples: int, settings: TrainingSettings) -> float:
    """How often so many examples are shown: `epochs`, or as often as `min_steps` needs where that is more.

    A few dozen corrections seen twice change next to nothing, and a night would be judged on that.
    """
    enough = settings.min_steps * settings.batch_examples / examples
    return max(settings.epochs, min(enough, MOST_SHOWINGS))


def families(examples: Sequence[Encoded]) -> list[list[int]]:
    """Indices of the examples that belong to one conversation: some prompt among them begins all their prompts."""
    found: list[list[int]] = []
    root: tuple[int, ...] | None = None
    for index in sorted(range(len(examples)), key=lambda index: examples[index].prompt):
        prompt = examples[index].prompt
        if root is None or prompt[: len(root)] != root:
            root = prompt
            found.append([])
        found[-1].append(index)
    return sorted(found, key=min)


def order(families: Sequence[Sequence[int]], epochs: float, seed: int) -> list[int]:
    """Indices of the examples as they are shown: each epoch in its own order, the last one as far as `epochs` says.

    Families stay together, so that a step computes what they share once.
    """
    shown: list[int] = []
    for epoch in range(math.ceil(epochs)):
        shuffled = list(families)
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        shown += chain.from_iterable(shuffled)
    return shown[: max(1, round(sum(map(len, families)) * epochs))]


def affordable(order: Sequence[int], sizes: Sequence[int], budget: int) -> list[int]:
    """What of `order` a budget of tokens is enough for, where example i has `sizes[i]`, the oldest first; 0 for all.

    Every example is shown once before any is shown again. Where the budget ends within an epoch, that epoch keeps the
    newest examples that it is enough for, wherever they stand; one is always shown.
    """
    if not budget:
        return [*order]
    shown: list[int] = []
    left = budget
    for start in range(0, len(order), len(sizes)):
        epoch = order[start : start + len(sizes)]
        newest = _newest(epoch, sizes, left)
        shown += [index for index in epoch if index in newest]
        left -= sum(sizes[index] for index in newest)
        if len(newest) < len(epoch):
            break
    return shown or [max(order)]


def _newest(epoch: Sequence[int], sizes: Sequence[int], budget: int) -> set[int]:
    by_age = sorted(epoch, reverse=True)
    spent = accumulate(sizes[index] for index in by_age)
    return {index for index, tokens in zip(by_age, spent, strict=True) if tokens <= budget}


def batches(order: Sequence[int], batch: int) -> list[list[int]]:
    """Indices of the examples of every step."""
    return [[*order[start : start + batch]] for start in range(0, len(order), batch)]


def behind(step: int, steps: int, seconds: float, budget: float) -> float:
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
