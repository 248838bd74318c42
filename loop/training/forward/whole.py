"""Attention over a small prefix tree as plain products under one mask.

In bfloat16 a CPU takes three times as long for the fused kernel's backward as for these.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from loop.training.batch.tree import Tree

LARGEST = 256
"""Nodes of a tree up to which that is so; of 400 both take as long, the kernel without keeping the scores."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What every node of a tree sees of every other."""

    mask: Tensor
    """Added to the scores, [nodes, nodes]: 0 for what a row's node sees, else -inf."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """What every node sees of the values, [1, heads, nodes, d] each; neighbouring heads share keys and values."""
        _, heads, nodes, width = query.shape
        shared = key.shape[1]
        asked = query.reshape(1, shared, heads // shared * nodes, width)
        scores = (asked @ key.transpose(-1, -2)).view(1, heads, nodes, nodes)
        scores = scores * (width**-0.5 if scaling is None else scaling) + self.mask
        exact = torch.promote_types(scores.dtype, torch.float32)
        shares = scores.softmax(-1, dtype=exact).to(value.dtype)
        return (shares.view(1, shared, -1, nodes) @ value).view(1, heads, nodes, -1)


def is_small(tree: Tree, like: Tensor) -> bool:
    """Whether plain products are faster for queries that are where `like` is and in its numbers."""
    return like.dtype is torch.bfloat16 and like.device.type == "cpu" and len(tree.tokens) <= LARGEST


def whole(tree: Tree, like: Tensor) -> Whole:
    """A node sees itself and those before it whose subtree it is in."""
    ends = torch.tensor(tree.ends, device=like.device)
    keys = torch.arange(len(ends), device=like.device)
    queries = keys[:, None]
    seen = (keys <= queries) & (queries < ends)
    return Whole(like.new_zeros(seen.shape).masked_fill(~seen, -inf))
