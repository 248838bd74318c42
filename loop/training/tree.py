"""Token sequences as one prefix tree, so that `logps` computes every shared prefix once."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix tree in depth-first order: node i sees node j exactly if j <= i < ends[j]."""

    tokens: tuple[int, ...]
    depths: tuple[int, ...]
    """Position of each node in every sequence through it."""
    ends: tuple[int, ...]
    """First node after each node's subtree."""
    paths: tuple[tuple[int, ...], ...]
    """The nodes of each sequence, first token first."""


def grow(sequences: Sequence[tuple[int, ...]]) -> Tree:
    """The prefix tree of `sequences`; in lexicographic order each one only adds nodes at the end."""
    tokens: list[int] = []
    depths: list[int] = []
    ends: list[int] = []
    paths: list[tuple[int, ...]] = [()] * len(sequences)
    path: list[int] = []
    previous: tuple[int, ...] = ()
    for index in sorted(range(len(sequences)), key=sequences.__getitem__):
        sequence = sequences[index]
        shared = common_prefix(previous, sequence)
        _close(path[shared:], ends, len(tokens))
        path = [*path[:shared], *range(len(tokens), len(tokens) + len(sequence) - shared)]
        tokens += sequence[shared:]
        depths += range(shared, len(sequence))
        ends += [0] * (len(sequence) - shared)
        paths[index] = tuple(path)
        previous = sequence
    _close(path, ends, len(tokens))
    return Tree(tuple(tokens), tuple(depths), tuple(ends), tuple(paths))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _close(nodes: list[int], ends: list[int], end: int) -> None:
    for node in nodes:
        ends[node] = end
