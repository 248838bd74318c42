"""Activations of a transformer's layers: kept for the backward, or computed again in it to save memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer


def layers(model: nn.Module) -> list[GradientCheckpointingLayer]:
    """The layers of a transformer, in order."""
    return [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]


def checkpoint_activations(model: nn.Module) -> None:
    """Let each layer keep only its input until backward, where the layer is computed again."""
    for layer in layers(model):
        # Layers draw nothing at random here, so no random state has to be kept for the second forward.
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False)


def checkpointed(model: nn.Module) -> list[GradientCheckpointingLayer]:
    """The layers that are computed again in backward."""
    return [layer for layer in layers(model) if isinstance(vars(layer).get("forward"), partial)]


@contextmanager
def all_kept(model: nn.Module) -> Iterator[None]:
    """Every layer keeps all for its backward, and none is computed again, while the block runs."""
    again = checkpointed(model)
    forwards = [vars(layer).pop("forward") for layer in again]
    try:
        yield
    finally:
        for layer, forward in zip(again, forwards, strict=True):
            layer.forward = forward
