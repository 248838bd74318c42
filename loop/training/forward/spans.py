"""Attention over a prefix tree in one stream of tokens, chain by chain: needs no kernel but torch's own.

A trunk is plain causal attention; every other chain attends to its ancestors, which are a few slices of the stream, and
to itself. So no mask is wider than what a chain sees, and nothing is computed only to be hidden.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from math import inf

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import scaled_dot_product_attention

from loop.training.batch.tree import Tree
from loop.training.forward.whole import Whole, is_small, whole

Pieces = Sequence[Tensor]
"""Keys or values of each chain, [1, heads, nodes, d]."""
Recipe = Callable[[], Tensor]


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring nodes whose attention is computed together."""

    size: int
    sees: tuple[int, ...]
    """Chains in the order of depth: its ancestors and its own."""
    mask: Tensor | None
    """Added to the scores, [size, nodes of `sees`]; None at a trunk, which is causal."""


@dataclass(frozen=True, slots=True)
class Spans:
    """How the stream of a tree is cut for its keys and values, and for its queries."""

    chains: list[int]
    """Length of each chain."""
    spans: tuple[Span, ...]
    """In the order of the stream."""
    frugal: bool
    """Whether a branch makes its copy of the keys and values that it shares again in backward."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """What every node sees of the values, [1, heads, nodes, d] each."""
        keys, values = torch.split(key, self.chains, dim=2), torch.split(value, self.chains, dim=2)
        queries = torch.split(query, [span.size for span in self.spans], dim=2)
        asked = zip(self.spans, queries, strict=True)
        return torch.cat([self._seen(span, asking, keys, values, scaling) for span, asking in asked], dim=2)

    def _seen(self, span: Span, query: Tensor, keys: Pieces, values: Pieces, scaling: float | None) -> Tensor:
        """What the nodes of a span see, [1, heads, size, d]."""
        key, value = _joined(keys, span), _joined(values, span)
        again = {_identity(key): partial(_joined, keys, span), _identity(value): partial(_joined, values, span)}
        with _made_again(again) if self.frugal and span.mask is not None else nullcontext():
            return scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=span.mask,
                is_causal=span.mask is None,
                scale=scaling,
                enable_gqa=query.shape[1] != key.shape[1],
            )


def spans(tree: Tree, like: Tensor, *, frugal: bool = True) -> Spans | Whole:
    """The spans of `tree`, or all of it where that is faster; masks where `like` is and in the queries' numbers."""
    if is_small(tree, like):
        return whole(tree, like)
    return Spans([*map(len, tree.chains)], tuple(_spans(tree, like)), frugal)


def kept_spans(tree: Tree, like: Tensor) -> Spans | Whole:
    """The same for layers that are computed again in backward: of nested hooks on what is kept only one would count."""
    return spans(tree, like, frugal=False)


def _spans(tree: Tree, like: Tensor) -> Iterator[Span]:
    index = 0
    while index < len(tree.chains):
        trunk = list(_trunk(tree, index))
        if trunk:
            yield Span(sum(len(tree.chains[i]) for i in trunk), tuple(trunk), None)
            index = trunk[-1] + 1
        else:
            chain = tree.chains[index]
            yield Span(len(chain), tuple(tree.path(index)), _mask(len(chain), chain.depth, like))
            index += 1


def _trunk(tree: Tree, index: int) -> Iterator[int]:
    """The chains that follow each other from the root at `index`; none where there is no root."""
    before = -1
    while index < len(tree.chains) and tree.chains[index].parent == before:
        yield index
        before = index
        index += 1


def _mask(size: int, above: int, like: Tensor) -> Tensor:
    return like.new_full((size, above + size), -inf).triu(above + 1)


def _joined(pieces: Pieces, span: Span) -> Tensor:
    first, *others = (pieces[i] for i in span.sees)
    return torch.cat([first, *others], dim=2) if others else first


def _identity(tensor: Tensor) -> tuple[int, torch.Size]:
    return tensor.data_ptr(), tensor.shape


def _made_again(recipes: Mapping[tuple[int, torch.Size], Recipe]) -> saved_tensors_hooks:
    """Until its backward a branch keeps no copy of the keys and values that it shares, only how to make it.

    What else it keeps is cut from its history: attention's own result would keep the operation that made it, and this
    the result, for ever where nobody asks for gradients.
    """

    def keep(tensor: Tensor) -> Tensor | Recipe:
        return recipes.get(_identity(tensor)) or tensor.detach()

    def give(kept: Tensor | Recipe) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    return saved_tensors_hooks(keep, give)
