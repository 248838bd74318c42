"""Schedule: the examples of every step. Pure functions, so resuming needs no state."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

from loop.settings import TrainingSettings
from loop.training.batch.tokens import Encoded

MOST_SHOWINGS = 8
"""Showings of an example, at most, for the sake of `min_steps`; more teach nothing (tests/benchmarks/README.md)."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The steps of a training, and what a budget of tokens leaves out of it."""

    batches: list[list[int]]
    """Indices of the examples of every step."""
    wanted: int
    """Number of steps without a budget of tokens."""
    left_out: int
    """Number of examples that a budget of tokens leaves out, the oldest."""


def schedule(examples: Sequence[Encoded], settings: TrainingSettings) -> Schedule:
    """Schedule of `examples`, which stand in the order of their age, the oldest first."""
    every = order(families(examples), showings(len(examples), settings), settings.seed)
    shown = affordable(every, [example.size for example in examples], settings.budget_tokens)
    return Schedule(
        batches=batches(shown, settings.batch_examples),
        wanted=len(batches(every, settings.batch_examples)),
        left_out=len(set(every)) - len(set(shown)),
    )


def showings(examples: int, settings: TrainingSettings) -> float:
    """Number of times that so many examples are shown: `epochs`, or as many as `min_steps` needs where that is more."""
    # A few dozen corrections seen twice change next to nothing, and a night would be judged on that.
    enough = settings.min_steps * settings.batch_examples / examples
    return max(settings.epochs, min(enough, MOST_SHOWINGS))


def families(examples: Sequence[Encoded]) -> list[list[int]]:
    """Families of examples, as lists of their indices: the prompt of one member begins the prompts of all others.

    The examples of one conversation are such a family.
    """
    found: list[list[int]] = []
    root: tuple[int, ...] | None = None
    # In sorted order a prompt comes right before those that it begins.
    for index in sorted(range(len(examples)), key=lambda index: examples[index].prompt):
        prompt = examples[index].prompt
        if root is None or prompt[: len(root)] != root:
            root = prompt
            found.append([])
        found[-1].append(index)
    return sorted(found, key=min)


def order(families: Sequence[Sequence[int]], epochs: float, seed: int) -> list[int]:
    """Indices of the examples in the order they are shown: each epoch shuffled anew, the last one perhaps in part.

    Families stay together, so that a step computes the prefix that they share once.
    """
    shown: list[int] = []
    for epoch in range(math.ceil(epochs)):
        shuffled = list(families)
        # A generator for each epoch: its order follows from seed and epoch alone.
        random.Random(f"{seed}/{epoch}").shuffle(shuffled)
        shown += chain.from_iterable(shuffled)
    return shown[: max(1, round(sum(map(len, families)) * epochs))]


def affordable(order: Sequence[int], sizes: Sequence[int], budget: int) -> list[int]:
    """The part of `order` whose tokens fit into `budget`; all of it where `budget` is 0.

    Example i has `sizes[i]` tokens, the oldest example is 0. Every example is shown once before any is shown again.
    Where the budget ends within an epoch, that epoch keeps its newest examples, wherever they stand; one is always
    shown.
    """
    if not budget:
        return list(order)
    shown: list[int] = []
    left = budget
    for start in range(0, len(order), len(sizes)):
        epoch = order[start : start + len(sizes)]
        newest = _newest(epoch, sizes, left)
        shown += [index for index in epoch if index in newest]
        left -= sum(sizes[index] for index in newest)
        # The tokens left over could only show a newer example again before an older one that found no room here.
        if len(newest) < len(epoch):
            break
    return shown or [max(order)]


def _newest(epoch: Sequence[int], sizes: Sequence[int], budget: int) -> set[int]:
    """The newest examples of an epoch whose tokens together fit into `budget`; examples are numbered by age."""
    by_age = sorted(epoch, reverse=True)
    spent = accumulate(sizes[index] for index in by_age)
    return {index for index, tokens in zip(by_age, spent, strict=True) if tokens <= budget}


def batches(order: Sequence[int], batch: int) -> list[list[int]]:
    """Indices of the examples of every step, `batch` each; the last step has the rest."""
    return [list(order[start : start + batch]) for start in range(0, len(order), batch)]
