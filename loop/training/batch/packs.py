"""Passes: examples are divided into forward passes of bounded size that compute few tokens twice and keep little."""

from collections.abc import Sequence
from itertools import pairwise

from loop.training.batch.tokens import Encoded
from loop.training.batch.tree import common_prefix

ROOMY = 20_000
"""Size of a pass, in tokens, at which a token costs twice as much as in a small pass, for the memory the pass keeps.

Four GSM8K questions a tree each took two cores as long as in one tree of 2,000 tokens, and half the memory.
"""


def nodes(*examples: Encoded) -> int:
    """Number of nodes of the prefix tree of all answers of `examples`."""
    sequences = sorted(sequence for example in examples for sequence in example.sequences)
    # In sorted order a sequence shares most with the one before it; only the rest of it is new.
    return len(sequences[0]) + sum(len(b) - common_prefix(a, b) for a, b in pairwise(sequences))


def padded(examples: Sequence[Encoded], budget: int) -> list[list[int]]:
    """Indices of the examples of each pass with a padded row for each answer, longest first.

    A pass has at most `budget` tokens, padding included; an example with more stands alone.
    """
    longest = [max(map(len, example.sequences)) for example in examples]
    groups: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(examples)), key=lambda index: -longest[index]):
        rows += len(examples[index].answers)
        # The first of a group is its longest, to which every row is padded.
        if groups and longest[groups[-1][0]] * rows <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
            rows = len(examples[index].answers)
    return groups


def packs(examples: Sequence[Encoded], budget: int, full: int) -> list[list[int]]:
    """Indices of the examples of each tree of at most `budget` nodes, largest first; one with more stands alone.

    Of all ways to cut the sorted examples into trees this is the cheapest (see `cost`), by dynamic programming. A
    prefix that two trees share is computed twice where it is short and one tree would be large.
    """
    # Neighbours in the order of their prompts share most, so a tree is a stretch of that order.
    order = sorted(range(len(examples)), key=lambda index: examples[index].prompt)
    ordered = [examples[index] for index in order]
    alone = [nodes(example) for example in ordered]
    shared = [0]
    shared += [nodes(one) + nodes(other) - nodes(one, other) for one, other in pairwise(ordered)]
    groups = [order[start:end] for start, end in pairwise(_cuts(alone, shared, budget, full))]
    # Largest first: a small pass fits into the memory that a larger one left, the other way round the heap grows by
    # both.
    return sorted(groups, key=lambda group: -nodes(*(examples[index] for index in group)))


def cost(size: int, full: int) -> int:
    """Cost of a pass of `size` tokens, in 1 / max(ROOMY, full) of a small pass's token.

    A pass costs its tokens, `full` at least, and the more for each the larger it is.
    """
    # Twice the price at a size of ROOMY. In whole numbers, so that every machine cuts alike.
    return max(ROOMY, full) * max(size, full) + size * size


def _cuts(alone: Sequence[int], shared: Sequence[int], budget: int, full: int) -> list[int]:
    """Begins of the cheapest stretches of examples, in order, and the end of the last.

    Example i has `alone[i]` nodes, of which it shares `shared[i]` with the example before it.
    """
    # Entry e of both lists is about the first e examples: their cost at best, and the begin of the last stretch.
    costs, begins = [0], [0]
    for end in range(1, len(alone) + 1):
        options: list[tuple[int, int]] = []
        size = 0
        for start in range(end - 1, -1, -1):
            size += alone[start]
            if size > budget and options:  # a single example may exceed the budget
                break
            # Of two ways that cost the same the shorter last stretch is taken.
            options.append((costs[start] + cost(size, full), -start))
            size -= shared[start]
        cheapest, begin = min(options)
        costs.append(cheapest)
        begins.append(-begin)
    cuts = [len(alone)]
    while cuts[-1]:
        cuts.append(begins[cuts[-1]])
    return cuts[::-1]
