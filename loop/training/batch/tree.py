"""Prefix trees of token sequences, by which `logps` computes every shared prefix once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

LONGEST = 512
"""Largest number of tokens of a chain that does not begin its tree: its mask has a row for each of them, as wide as all
tokens that it sees."""


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
    """A prefix forest in depth-first order; of all children the one with the most nodes comes first.

    So a chain and the largest chain that continues it are neighbours, and a tree begins with its trunk.
    """

    tokens: tuple[int, ...]
    """Token of each node."""
    chains: tuple[Chain, ...]
    """Chains in the order of their nodes, none of them empty."""
    last: tuple[int, ...]
    """Index of the chain at whose end each sequence ends."""

    @property
    def depths(self) -> list[int]:
        """Position of each node in every sequence through it."""
        found: list[int] = []
        for chain in self.chains:
            found.extend(range(chain.depth, chain.depth + len(chain)))
        return found

    @property
    def ends(self) -> list[int]:
        """One after the last node of each node's subtree."""
        ends = [chain.end for chain in self.chains]
        # Backwards, since a chain stands behind its parent: its own end is final when it is passed on.
        for index in range(len(ends) - 1, 0, -1):
            parent = self.chains[index].parent
            if parent >= 0:
                ends[parent] = max(ends[parent], ends[index])
        found: list[int] = []
        for chain, end in zip(self.chains, ends, strict=True):
            found.extend([end] * len(chain))
        return found

    def path(self, chain: int) -> list[int]:
        """Indices of the chains from the root to `chain`."""
        found = []
        while chain >= 0:
            found.append(chain)
            chain = self.chains[chain].parent
        return found[::-1]

    def nodes(self, sequence: int) -> list[int]:
        """The nodes of one sequence, first token first."""
        found: list[int] = []
        for index in self.path(self.last[sequence]):
            chain = self.chains[index]
            found.extend(range(chain.start, chain.end))
        return found


@dataclass(frozen=True, slots=True)
class _Branch:
    """Sorted sequences, from index `low` to before `high`, that share their first `depth` tokens."""

    low: int
    high: int
    depth: int
    parent: int
    """Index of the chain that ends at `depth`; -1 at a root."""


def grow(sequences: Sequence[tuple[int, ...]]) -> Tree:
    """The prefix forest of `sequences`, none of them empty; linear in their tokens once they are sorted."""
    # Sorted, the sequences through a node are neighbours, and what neighbours share tells where they part.
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    ordered = [sequences[i] for i in order]
    shared = [0]  # by each sequence with the one before it
    shared += [common_prefix(one, other) for one, other in pairwise(ordered)]
    tokens: list[int] = []
    chains: list[Chain] = []
    last = [0] * len(sequences)
    waiting = [_Branch(0, len(sequences), 0, -1)]
    while waiting:
        branch = waiting.pop()
        # All of its sequences agree as far as the least that two neighbours share; one alone goes on to its end.
        end = min(shared[branch.low + 1 : branch.high], default=len(ordered[branch.low]))
        parent = branch.parent
        for start, stop in _cuts(branch.depth, end, at_root=parent < 0):
            chains.append(Chain(len(tokens), len(tokens) + stop - start, start, parent))
            tokens += ordered[branch.low][start:stop]
            parent = len(chains) - 1
        # A sequence that ends here is a group of its own, as it shares no more with its neighbours.
        inner = list(_inner(branch, end, parent, shared))
        for child in inner:
            if len(ordered[child.low]) == end:
                last[order[child.low]] = parent
        longer = [child for child in inner if len(ordered[child.low]) > end]
        # The largest last: it is popped next, so it follows its trunk in the stream.
        waiting += sorted(longer, key=lambda child: _size(child, ordered, shared))
    return Tree(tuple(tokens), tuple(chains), tuple(last))


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    return next(
        (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


def _cuts(start: int, stop: int, *, at_root: bool) -> Iterator[tuple[int, int]]:
    """Depths at which chains from `start` to `stop` begin and end; a root needs no mask and stays whole."""
    step = stop - start if at_root else LONGEST
    while start < stop:
        yield start, min(start + step, stop)
        start += step


def _inner(branch: _Branch, end: int, parent: int, shared: Sequence[int]) -> Iterator[_Branch]:
    """The groups of sequences into which a branch parts at depth `end`."""
    bounds = [branch.low]
    bounds += [place for place in range(branch.low + 1, branch.high) if shared[place] == end]
    bounds.append(branch.high)
    for low, high in pairwise(bounds):
        yield _Branch(low, high, end, parent)


def _size(branch: _Branch, ordered: Sequence[tuple[int, ...]], shared: Sequence[int]) -> int:
    """Number of nodes below a branch."""
    rest = sum(len(ordered[place]) - shared[place] for place in range(branch.low + 1, branch.high))
    return len(ordered[branch.low]) - branch.depth + rest
