"""Attention over a prefix tree on a GPU: flex_attention, which leaves out every block of the stream that nobody sees.

In depth-first order a node is seen by the nodes from itself to the end of its subtree, so an interval is all the mask.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import cast

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from loop.training.batch.tree import Tree

BLOCK = 128
"""Neighbouring nodes that are computed or left out together."""


_PLAIN = cast("Callable[..., Tensor]", flex_attention)
VARIANTS = 64
"""Of the compiled function: with gradients or without, of one block or many, for lengths that blocks divide or not."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Which blocks of keys each block of queries sees, and which nodes in them."""

    mask: BlockMask

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """What every node sees of the values, [1, heads, nodes, d] each.

        Keys that several heads share are repeated: the backward runs over them in parallel then, not in turn.
        """
        compute = _compiled() if query.is_cuda else _PLAIN
        groups = query.shape[1] // key.shape[1]
        keys, values = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        return compute(query, keys, values, block_mask=self.mask, scale=scaling)


def blocks(tree: Tree, like: Tensor) -> Blocks:
    """The blocks of `tree`, where `like` is."""
    ends = torch.tensor(tree.ends, device=like.device)
    size = len(tree.tokens)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    some, all_of = _seen_blocks(ends)
    mask = BlockMask.from_kv_blocks(
        *_indices(some & ~all_of), *_indices(all_of), BLOCK_SIZE=BLOCK, mask_mod=sees, seq_lengths=(size, size)
    )
    return Blocks(mask)


@cache
def _compiled() -> Callable[..., Tensor]:
    from torch._dynamo import config

    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    return torch.compile(_PLAIN, dynamic=True)


def _seen_blocks(ends: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each block of queries sees some, and all, of each block of keys: [blocks, blocks] of queries by keys."""
    size = len(ends)
    keys = torch.arange(size, device=ends.device)[:, None]
    first = torch.arange(0, size, BLOCK, device=ends.device)
    last = (first + BLOCK).clamp(max=size) - 1
    touched = (keys <= last) & (ends[:, None] > first)
    covered = (keys <= first) & (ends[:, None] > last)
    width = len(first)
    padding = (0, 0, 0, width * BLOCK - size)
    by_block = [torch.nn.functional.pad(each, padding).view(width, BLOCK, width) for each in (touched, covered)]
    return by_block[0].any(1).T.contiguous(), by_block[1].all(1).T.contiguous()


def _indices(seen: Tensor) -> tuple[Tensor, Tensor]:
    """[queries, keys] -> how many blocks of keys each block of queries sees, and their indices first in each row."""
    order = seen.int().argsort(dim=-1, descending=True, stable=True)
    return seen.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None]
