"""A model is read whole or not at all: what its files hold and what its configuration names have to be the same."""

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
    """Raises UsageError where what transformers loads inside from a folder or file is damaged or no model."""
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise UsageError(
            f"{source} holds no model that can be loaded: {str(error).strip().partition(chr(10))[0]}",
            "copy or fetch it again, or set model.base to another causal language model",
        ) from error


def require_fitting(model: PreTrainedModel, told: Mapping[str, Collection[Any]]) -> None:
    """Raises ValueError for weights that `model` lacks, or had to leave out, by transformers' loading information.

    transformers makes up what is missing and what has another shape, and drops what the model has no place for. Only
    what belongs to no layer of it, as a picture encoder's weights beside a language model, may be dropped.
    """
    misfits = sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
    if misfits:
        raise ValueError(f"{len(misfits)} of its weights are missing or do not fit its configuration: {misfits[0]}")
    modules = dict([*model.base_model.named_modules(), *model.named_modules()])  # files may leave its prefix out
    dropped = sorted(name for name in told["unexpected_keys"] if _belongs(name, modules))
    if dropped:
        raise ValueError(f"its configuration has no place for {len(dropped)} of its weights: {dropped[0]}")


def _belongs(name: str, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a dropped weight is another one of a module that has weights, or of one more layer of a list."""
    owner = name
    while owner not in modules:
        owner = owner.rpartition(".")[0]
    nearest = modules[owner]
    return isinstance(nearest, nn.ModuleList) or any(True for _ in nearest.parameters(recurse=False))
