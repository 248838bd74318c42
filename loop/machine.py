"""Choices for the machine that a night runs on: made by rules, unless a test or a benchmark makes one by hand."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Machine:
    """Choices that no setting makes; None, or 0 for a number, leaves a choice to the rule named below it."""

    processes: int = 0
    """Processes that share one training: as many as GPUs, one on a machine without."""
    shard: bool | None = None
    """Whether several processes divide the frozen weights: only where a process's memory cannot hold them whole."""
    tree: bool = True
    """Whether answers share their prefixes in a tree, as far as the model's attention allows it, or have a row each."""
    pass_tokens: int = 0
    """Most tokens of a forward pass: a fast size that leaves memory to others."""
    autocast: bool | None = None
    """Whether matrix products are in bfloat16: where CPU or GPU computes in it natively."""
    activation_checkpoints: bool | None = None
    """Whether backward computes each layer again: only where the longest example would not fit into memory without."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints, each written in about a second: a kill loses no more work than that."""
    batch_prompts: int = 32
    """Prompts that are answered together: fewer keep the processor waiting, more want memory for their keys and values.

    32 prompts of 2,048 tokens take 1.5 GB with SmolLM2-135M.
    """
    batch_events: int = 2_000
    """Most events that capture stores in one transaction; of 1 KB each, nearly twice as fast as 500 at a time."""
    max_pairs: int = 100
    """Most pairs of the preference report, the newest kept, each two forward passes a model; 0 for all."""


BY_RULE = Machine()
"""Every choice by its rule."""
