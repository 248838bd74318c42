"""Token sequences as one prefix tree, so that `logps` computes every shared prefix once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

LONGEST = 512
"""Tokens of a chain that does not begin its tree: its mask is this high, and as wide as all that it sees."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Nodes that follow each other without a branch, first to last."""

    start: int
    """First node."""
    end: int
    """One after the last node."""
    depth: int
    """Position of the first node in every sequence through it."""
    parent: int
    """Index of the chain that it continues; -1 at a root."""

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Tree:
    """A prefix forest in depth-first order, of all children the one with the most nodes first.

    So a chain and the largest that continues it are neighbours, and a tree begins with its trunk.
    """

    tokens: tuple[int, ...]
    """Of each node."""
    chains: tuple[Chain, ...]
    """In the order of their nodes, none of them empty."""
    last: tuple[int, ...]
    """Index of the chain at whose end each sequence ends."""

    @property
    def depths(self) -> list[int]:
        """Position of each node in every sequence through it."""
        return [position for chain in self.chains for position in range(chain.depth, chain.depth + len(chain))]

    @property
    def ends(self) -> list[int]:
        """One after the last node of each node's subtree."""
        ends = [chain.end for chain in self.chains]
        for index in range(len(ends) - 1, 0, -1):
            parent = self.chains[index].parent
            if parent >= 0:
                ends[parent] = max(ends[parent], ends[index])
        return [end for chain, end in zip(self.chains, ends, strict=True) for _ in range(len(chain))]

    def path(self, chain: int) -> list[int]:
        """Indices of the chains from the root to `chain`."""
        found = []
        while chain >= 0:
            found.append(chain)
            chain = self.chains[chain].parent
        return found[::-1]

    def nodes(self, sequence: int) -> list[int]:
        """The nodes of one sequence, first token first."""
        return [
            node for i in self.path(self.last[sequence]) for node in range(self.chains[i].start, self.chains[i].end)
        ]


@dataclass(frozen=True, slots=True)
class _Branch:
    """Sorted sequences low to high that share what lies above `depth`."""

    low: int
    high: int
    depth: int
    parent: int


def grow(sequences: Sequence[tuple[int, ...]]) -> Tree:
    """The prefix forest of `sequences`, none of them empty; linear in their tokens once they are sorted."""
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    ordered = [sequences[i] for i in order]
    shared = [0, *(common_prefix(one, other) for one, other in pairwise(ordered))]
    tokens: list[int] = []
    chains: list[Chain] = []
    last = [0] * len(sequences)
    waiting = [_Branch(0, len(sequences), 0, -1)]
    while waiting:
        branch = waiting.pop()
        end = min(shared[branch.low + 1 : branch.high], default=len(ordered[branch.low]))
        parent = branch.parent
        for start, stop in _cuts(branch.depth, end, at_root=parent < 0):
            chains.append(Chain(len(tokens), len(tokens) + stop - start, start, parent))
            tokens += ordered[branch.low][start:stop]
            parent = len(chains) - 1
        inner = list(_inner(branch, end, parent, shared))
        for child in inner:
            if len(ordered[child.low]) == end:
                last[order[child.low]] = parent
        longer = [child for child in inner if len(ordered[child.low]) > end]
        waiting += sorted(longer, key=lambda child: _size(child, ordered, shared))
    return Tree(tuple(tokens), tuple(chains), tuple(last))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _cuts(start: int, stop: int, *, at_root: bool) -> Iterator[tuple[int, int]]:
    step = stop - start if at_root else LONGEST
    while start < stop:
        yield start, min(start + step, stop)
        start += step


def _inner(branch: _Branch, end: int, parent: int, shared: Sequence[int]) -> Iterator[_Branch]:
    """The groups of a branch that still share something after `end`, or have ended there."""
    apart = [place for place in range(branch.low + 1, branch.high) if shared[place] == end]
    for low, high in pairwise([branch.low, *apart, branch.high]):
        yield _Branch(low, high, end, parent)


def _size(branch: _Branch, ordered: Sequence[tuple[int, ...]], shared: Sequence[int]) -> int:
    """Nodes under a branch."""
    rest = sum(len(ordered[place]) - shared[place] for place in range(branch.low + 1, branch.high))
    return len(ordered[branch.low]) - branch.depth + rest
