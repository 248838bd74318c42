"""The libraries without which no model can be loaded, and the error where they are absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from loop.errors import UsageError
from loop.imports import collector_off

TORCH = ("torch", "transformers", "peft")


def absent() -> tuple[str, ...]:
    """Those of `TORCH` that are not installed; none of them is imported for it."""
    return tuple(name for name in TORCH if not _installed(name))


def require_torch() -> None:
    """Raises UsageError, with what installs them, where one of `TORCH` is absent; imports nothing."""
    if missing := absent():
        are = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"this needs a model, and {' and '.join(missing)} {are} not installed here",
            f"pip install {' '.join(missing)}, or run it where they are; `nightshift doctor` says what works without",
        )


@contextmanager
def importing() -> Iterator[None]:
    """For a block that imports what needs torch. Raises UsageError where that is absent or broken."""
    require_torch()
    try:
        with collector_off():
            yield
    except ImportError as error:
        raise UsageError(
            f"a library that loads models cannot be imported: {error}",
            f"pip install --force-reinstall {' '.join(TORCH)}",
        ) from error


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
