"""Forward passes of models while a block runs, seen from outside: by a hook that torch has for all modules."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook


@contextmanager
def passes() -> Iterator[list[tuple[int, int]]]:
    """Rows and columns of token ids of each pass, padding included, as they come."""
    seen: list[tuple[int, int]] = []

    def look(module: nn.Module, inputs: tuple[object, ...]) -> None:
        if isinstance(module, nn.Embedding):
            rows, columns = inputs[0].shape  # type: ignore[attr-defined]
            seen.append((rows, columns))

    handle = register_module_forward_pre_hook(look)
    try:
        yield seen
    finally:
        handle.remove()
