"""Examples cut into forward passes of a bounded number of tokens, with little computed twice and little kept."""

from collections.abc import Sequence
from itertools import pairwise

from loop.training.batch.tokens import Encoded
from loop.training.batch.tree import common_prefix

ROOMY = 20_000
"""Tokens of a pass of which each costs twice what it does in a small one, for the memory that they keep together.

Four GSM8K questions a tree each took two cores as long as in one tree of 2,000 tokens, and half the memory.
"""


def nodes(*examples: Encoded) -> int:
    """Of the tree of all answers."""
    sequences = sorted(sequence for example in examples for sequence in example.sequences)
    return len(sequences[0]) + sum(len(b) - common_prefix(a, b) for a, b in pairwise(sequences))


def padded(examples: Sequence[Encoded], budget: int) -> list[list[int]]:
    """Indices grouped longest first, a padded row for each answer; an example with more than `budget` stands alone."""
    longest = [max(map(len, example.sequences)) for example in examples]
    groups: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(examples)), key=lambda index: -longest[index]):
        rows += len(examples[index].answers)
        if groups and longest[groups[-1][0]] * rows <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
            rows = len(examples[index].answers)
    return groups


def packs(examples: Sequence[Encoded], budget: int, full: int) -> list[list[int]]:
    """Indices of the examples of each tree of at most `budget` nodes, largest first; one with more stands alone.

    Neighbours in the order of their prompts share most, so a tree is a stretch of that order. Of all ways to cut it
    this is the cheapest, by dynamic programming. A pass costs its tokens, `full` at least, and a share of them more
    the larger it is: what two trees share is worth computing twice where it is little and one tree would be large.
    A small pass fits into the memory that a larger one left; the other way round the heap grows by both.
    """
    order = sorted(range(len(examples)), key=lambda index: examples[index].prompt)
    ordered = [examples[index] for index in order]
    alone = [nodes(example) for example in ordered]
    shared = [nodes(one) + nodes(other) - nodes(one, other) for one, other in pairwise(ordered)]
    groups = [order[start:end] for start, end in pairwise(_cuts(alone, [0, *shared], budget, full))]
    return sorted(groups, key=lambda group: -nodes(*(examples[index] for index in group)))


def cost(size: int, full: int) -> int:
    """Of a pass of `size` tokens, in parts of a token."""
    return max(ROOMY, full) * max(size, full) + size * size


def _cuts(alone: Sequence[int], shared: Sequence[int], budget: int, full: int) -> list[int]:
    """Where stretches begin, and the end: of sizes `alone`, each of which has `shared` with the one before."""
    costs, begins = [0], [0]
    for end in range(1, len(alone) + 1):
        options: list[tuple[int, int]] = []
        size = 0
        for start in range(end - 1, -1, -1):
            size += alone[start]
            if size > budget and options:
                break
            options.append((costs[start] + cost(size, full), -start))
            size -= shared[start]
        cheapest, begin = min(options)
        costs.append(cheapest)
        begins.append(-begin)
    cuts = [len(alone)]
    while cuts[-1]:
        cuts.append(begins[cuts[-1]])
    return cuts[::-1]
