"""Attention over a prefix tree in one stream of tokens, chain by chain, with torch's own kernels.

A trunk is plain causal attention; every other chain attends to its ancestors, which are a few slices of the stream, and
to itself. So no mask is wider than the tokens that a chain sees, and no score is computed only to be masked out, except
within a chain itself.
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
"""Function that makes a tensor again."""


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring nodes whose attention is computed together."""

    size: int
    """Number of its nodes."""
    sees: tuple[int, ...]
    """Indices of the chains that it sees, in the order of depth: its ancestors and its own."""
    mask: Tensor | None
    """Summand of the scores, [size, nodes of `sees`]; None for a trunk, which is causal."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Cuts of the stream of a tree, for its keys and values and for its queries."""

    chains: list[int]
    """Length of each chain."""
    spans: tuple[Span, ...]
    """Spans of queries in the order of the stream."""
    frugal: bool
    """Whether a branch drops its copy of shared keys and values after forward and makes it again in backward."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention output of every node, [1, heads, nodes, d] each."""
        keys, values = torch.split(key, self.chains, dim=2), torch.split(value, self.chains, dim=2)
        queries = torch.split(query, [span.size for span in self.spans], dim=2)
        asked = zip(self.spans, queries, strict=True)
        return torch.cat([self._seen(span, asking, keys, values, scaling) for span, asking in asked], dim=2)

    def _seen(self, span: Span, query: Tensor, keys: Pieces, values: Pieces, scaling: float | None) -> Tensor:
        """Attention output of the nodes of a span, [1, heads, size, d]."""
        key, value = _joined(keys, span), _joined(values, span)
        again = {_identity(key): partial(_joined, keys, span), _identity(value): partial(_joined, values, span)}
        # A trunk's keys are a slice of the stream or joined once; only a branch copies keys that others have too.
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
    """The spans of `tree`, or the whole tree where that is faster; masks have the device and dtype of `like`."""
    if is_small(tree, like):
        return whole(tree, like)
    return Spans(list(map(len, tree.chains)), tuple(_spans(tree, like)), frugal)


def kept_spans(tree: Tree, like: Tensor) -> Spans | Whole:
    """The same for layers that are computed again in backward."""
    # The checkpoint of a layer hooks on kept tensors as well, and of nested hooks only the inner one would count.
    return spans(tree, like, frugal=False)


def _spans(tree: Tree, like: Tensor) -> Iterator[Span]:
    """One span for each trunk, and one for each other chain."""
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
    """Mask of a chain of `size` nodes that sees all `above` it and is causal in itself, [size, above + size]."""
    return like.new_full((size, above + size), -inf).triu(above + 1)


def _joined(pieces: Pieces, span: Span) -> Tensor:
    seen = [pieces[i] for i in span.sees]
    return torch.cat(seen, dim=2) if len(seen) > 1 else seen[0]


def _identity(tensor: Tensor) -> tuple[int, torch.Size]:
    """Key by which a kept tensor is recognised: hooks are given other objects of the same memory."""
    return tensor.data_ptr(), tensor.shape


def _made_again(recipes: Mapping[tuple[int, torch.Size], Recipe]) -> saved_tensors_hooks:
    """Hooks by which a branch keeps, until its backward, recipes of its shared keys and values instead of copies."""

    def keep(tensor: Tensor) -> Tensor | Recipe:
        # Other tensors are cut from their history: attention's own result would keep the operation that made it, and
        # that the result, for ever where nobody asks for gradients.
        return recipes.get(_identity(tensor)) or tensor.detach()

    def give(kept: Tensor | Recipe) -> Tensor:
        return kept if isinstance(kept, Tensor) else kept()

    return saved_tensors_hooks(keep, give)
