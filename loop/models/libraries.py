"""The libraries without which no model can be loaded, and the error where they are absent."""

from importlib.util import find_spec

from loop.errors import UsageError
from loop.imports import collector_off

TORCH = ("torch", "transformers", "peft")


def absent() -> tuple[str, ...]:
    """Those of `TORCH` that are not installed; none of them is imported for it."""
    return tuple(name for name in TORCH if not _installed(name))


def require_torch() -> None:
    """Import torch. Raises UsageError, with what installs them, where it or another of `TORCH` is not here."""
    if missing := absent():
        are = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"this needs a model, and {' and '.join(missing)} {are} not installed here",
            f"pip install {' '.join(missing)}, or run it where they are; `nightshift doctor` says what works without",
        )
    try:
        with collector_off():
            import torch  # noqa: F401 - for the error, before anything builds on it
    except ImportError as error:
        raise UsageError(f"torch cannot be imported: {error}", "pip install --force-reinstall torch") from error


def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
