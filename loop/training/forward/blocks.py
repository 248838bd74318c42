"""Attention over a prefix tree on a GPU: flex_attention, which skips every block of the stream that no query sees.

In depth-first order a node is seen by the nodes from itself to the end of its subtree: the mask is one interval a node.
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
"""Number of neighbouring nodes that are computed or skipped together."""


_PLAIN = cast("Callable[..., Tensor]", flex_attention)
VARIANTS = 64
"""Number of compiled variants: with gradients or not, of one block or many, of lengths that blocks divide or not."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of keys that each block of queries sees, and the nodes in them."""

    mask: BlockMask

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention output of every node, [1, heads, nodes, d] each."""
        compute = _compiled() if query.is_cuda else _PLAIN
        # Keys that several heads share are repeated: the backward runs over them in parallel then, not in turn.
        groups = query.shape[1] // key.shape[1]
        keys, values = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        return compute(query, keys, values, block_mask=self.mask, scale=scaling)


def blocks(tree: Tree, like: Tensor) -> Blocks:
    """The blocks of `tree`, on the device of `like`."""
    ends = torch.tensor(tree.ends, device=like.device)
    size = len(tree.tokens)

    def sees(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < ends[key])

    # Blocks seen whole are computed without asking `sees` for each node.
    some, all_of = _seen_blocks(ends)
    part_counts, part_blocks = _indices(some & ~all_of)
    whole_counts, whole_blocks = _indices(all_of)
    mask = BlockMask.from_kv_blocks(
        part_counts,
        part_blocks,
        whole_counts,
        whole_blocks,
        BLOCK_SIZE=BLOCK,
        mask_mod=sees,
        seq_lengths=(size, size),
    )
    return Blocks(mask)


@cache
def _compiled() -> Callable[..., Tensor]:
    from torch._dynamo import config

    # Beyond its limit of variants dynamo would run the function uncompiled.
    config.recompile_limit = max(config.recompile_limit, VARIANTS)
    return torch.compile(_PLAIN, dynamic=True)


def _seen_blocks(ends: Tensor) -> tuple[Tensor, Tensor]:
    """Whether each block of queries sees some, and all, of each block of keys: [blocks, blocks] of queries by keys."""
    size = len(ends)
    keys = torch.arange(size, device=ends.device)[:, None]
    first = torch.arange(0, size, BLOCK, device=ends.device)
    last = (first + BLOCK).clamp(max=size) - 1
    # Key k is seen by the queries k to ends[k] - 1: some of a block where the intervals meet, all where it lies within.
    touched = (keys <= last) & (ends[:, None] > first)
    covered = (keys <= first) & (ends[:, None] > last)
    width = len(first)
    # Rows of keys are padded with False up to whole blocks: missing keys touch nothing, and cover nothing, so that the
    # last block is masked where the length is no multiple of BLOCK.
    padding = (0, 0, 0, width * BLOCK - size)
    by_block = [torch.nn.functional.pad(each, padding).view(width, BLOCK, width) for each in (touched, covered)]
    return by_block[0].any(1).T.contiguous(), by_block[1].all(1).T.contiguous()


def _indices(seen: Tensor) -> tuple[Tensor, Tensor]:
    """[queries, keys] in blocks -> number of blocks that each row sees, and their indices, which come first in it."""
    order = seen.int().argsort(dim=-1, descending=True, stable=True)
    return seen.sum(-1, dtype=torch.int32)[None, None], order.int()[None, None]
