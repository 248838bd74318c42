"""Attention over a prefix tree as a backend of transformers: every node attends to its own prefix and nothing else."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from loop.errors import TrainingError
from loop.training.batch.tree import Tree

NAME, STOCK = "nightshift_tree", "sdpa"
OTHER_FORMULAS = ("sliding_window", "softcap", "s_aux", "position_bias")
"""Arguments by which models ask for something else than plain attention over the whole prefix."""


class Plan(Protocol):
    """Way to compute the attention over one tree."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> Tensor:
        """Attention output of every node; [1, heads, nodes, d] each, with fewer heads of keys where they are shared."""


Backend = Callable[[Tree, Tensor], Plan]
"""Function that makes the plan of a tree, for queries of the device and dtype of a tensor."""


def select(model: PreTrainedModel, *, tree: bool) -> None:
    """Switch `model` to one stream of tokens [1, nodes] with a `tree=Plan`, or back to its stock attention."""
    wanted = NAME if tree else STOCK
    if model.config._attn_implementation != wanted:  # noqa: SLF001 - transformers has no public reader
        AttentionInterface.register(NAME, _attend)
        model.set_attn_implementation(wanted)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Plan,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: object,
) -> tuple[Tensor, None]:
    """[1, heads, nodes, d] -> [1, nodes, heads, d], the shapes that transformers wants of a backend.

    Raises TrainingError where the model asks for anything but plain attention over a prefix.
    """
    # Not ignored: such a model would be trained with another formula than the one that serves.
    asked = [name for name in OTHER_FORMULAS if others.get(name) is not None]
    if asked or dropout or attention_mask is not None:
        raise TrainingError(
            f"{type(module).__name__} asks for {', '.join(asked) or 'dropout or a mask'} in its attention over a tree",
            "let `choose_layout` give every answer a row of its own",
        )
    return tree.attend(query, key, value, scaling).transpose(1, 2).contiguous(), None
