"""Checks of a model that is read: its files have to hold exactly the weights that its configuration names."""

import struct
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from loop.errors import UsageError


@contextmanager
def readable(source: Path) -> Iterator[None]:
    """Raises UsageError where the block loads a folder or file that is damaged or no model."""
    # transformers raises errors of all these types for damaged files.
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UsageError(
            f"{source} holds no model that can be loaded: {str(error).strip().partition(chr(10))[0]}",
            "copy or fetch it again, or set model.base to another causal language model",
        ) from error


def require_fitting(model: PreTrainedModel, told: Mapping[str, Collection[Any]]) -> None:
    """Raises ValueError for weights that `model` lacks, or had to leave out, by transformers' loading information.

    Only weights that belong to no layer of the model, as a picture encoder's beside a language model, may be dropped.
    """
    # transformers makes up weights that are missing or have another shape, and drops those it has no place for.
    lacking = set(told["missing_keys"])
    lacking.update(mismatch[0] for mismatch in told["mismatched_keys"])  # name and both shapes
    misfits = sorted(lacking)
    if misfits:
        raise ValueError(f"{len(misfits)} of its weights are missing or do not fit its configuration: {misfits[0]}")
    modules = dict(model.base_model.named_modules())  # files may leave its prefix out
    modules.update(model.named_modules())
    dropped = sorted(name for name in told["unexpected_keys"] if _belongs(name, modules))
    if dropped:
        raise ValueError(f"its configuration has no place for {len(dropped)} of its weights: {dropped[0]}")


def _belongs(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a dropped weight would be one of a module that has weights, or of one more layer of a list."""
    owner = name
    # The root module has the name "", so the loop ends.
    while owner not in modules:
        owner = owner.rpartition(".")[0]
    nearest = modules[owner]
    return isinstance(nearest, nn.ModuleList) or any(True for _ in nearest.parameters(recurse=False))
