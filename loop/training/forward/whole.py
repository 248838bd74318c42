"""Attention over a small prefix tree as plain matrix products under one mask.

In bfloat16 a CPU takes three times as long for the backward of the fused kernel as for these products.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from loop.training.batch.tree import Tree

LARGEST = 256
"""Largest number of nodes for which that holds; at 400 both take as long, and the kernel does not keep the scores."""


@dataclass(frozen=True, slots=True)
class Whole:
    """Mask of a whole tree: which nodes every node sees."""

    mask: Tensor
    """Summand of the scores, [nodes, nodes]: 0 where the row's node sees the column's, else -inf."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention output of every node, [1, heads, nodes, d] each; neighbouring heads may share keys and values."""
        _, heads, nodes, width = query.shape
        shared = key.shape[1]
        # The queries of all heads that share a key stand in one matrix, so no key is repeated.
        asked = query.reshape(1, shared, heads // shared * nodes, width)
        scores = (asked @ key.transpose(-1, -2)).view(1, heads, nodes, nodes)
        scores = scores * (width**-0.5 if scaling is None else scaling) + self.mask
        # The softmax in float32 at least: bfloat16 has fewer than three digits.
        exact = torch.promote_types(scores.dtype, torch.float32)
        shares = scores.softmax(-1, dtype=exact).to(value.dtype)
        return (shares.view(1, shared, -1, nodes) @ value).view(1, heads, nodes, -1)


def is_small(tree: Tree, like: Tensor) -> bool:
    """Whether plain products are faster, for queries of the device and dtype of `like`."""
    return like.dtype is torch.bfloat16 and like.device.type == "cpu" and len(tree.tokens) <= LARGEST


def whole(tree: Tree, like: Tensor) -> Whole:
    """The mask of `tree`: a node sees itself and the nodes before it whose subtree it is in."""
    ends = torch.tensor(tree.ends, device=like.device)
    keys = torch.arange(len(ends), device=like.device)
    queries = keys[:, None]
    seen = (keys <= queries) & (queries < ends)
    return Whole(like.new_zeros(seen.shape).masked_fill(~seen, -inf))
