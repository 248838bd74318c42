"""Libraries that are needed to load a model, and the error where they are absent."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from loop.errors import UsageError
from loop.imports import collector_off

TORCH = ("torch", "transformers", "peft")
"""Packages without which no model can be loaded."""


def absent() -> tuple[str, ...]:
    """The packages of `TORCH` that are not installed; none of them is imported to find out."""
    return tuple(name for name in TORCH if not _installed(name))


def require_torch() -> None:
    """Raises UsageError, with the command that installs them, where packages of `TORCH` are absent; imports nothing."""
    missing = absent()
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"this needs a model, and {' and '.join(missing)} {are} not installed here",
            f"pip install {' '.join(missing)}, or run it where they are; `nightshift doctor` says what works without",
        )


@contextmanager
def importing() -> Iterator[None]:
    """Context of a block that imports modules which need torch. Raises UsageError where torch is absent or broken."""
    require_torch()
    # An installed package may still be broken, which only its import shows.
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
