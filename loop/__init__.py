"""Nightshift as a library: `open_loop()`, the values that its methods take and return, and its errors.

    with open_loop() as loop:
        loop.feedback("i-1", "thumb", 1, user="alice@example.org")

A name is imported when it is first used: sending feedback loads neither torch, nor MLflow, nor Great Expectations.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.errors import (
        EventError,
        FencedError,
        IntegrityError,
        LeaseHeldError,
        LowMemoryError,
        NightshiftError,
        NotFoundError,
        NothingToRollBackError,
        StaleChampionError,
        SuiteError,
        TrainingError,
        UnreachableError,
        UsageError,
    )
    from loop.library import Loop, open_loop
    from loop.settings import Settings
    from loop.types import (
        Candidate,
        Decision,
        Evidence,
        Example,
        Feedback,
        FeedbackKind,
        Interaction,
        Message,
        Night,
        Promotion,
        Sampling,
        Snapshot,
        Verdict,
    )

__version__ = "0.1.0"

__all__ = [
    "Candidate",
    "Decision",
    "EventError",
    "Evidence",
    "Example",
    "Feedback",
    "FeedbackKind",
    "FencedError",
    "IntegrityError",
    "Interaction",
    "LeaseHeldError",
    "Loop",
    "LowMemoryError",
    "Message",
    "Night",
    "NightshiftError",
    "NotFoundError",
    "NothingToRollBackError",
    "Promotion",
    "Sampling",
    "Settings",
    "Snapshot",
    "StaleChampionError",
    "SuiteError",
    "TrainingError",
    "UnreachableError",
    "UsageError",
    "Verdict",
    "open_loop",
]

_HOMES = ("loop.errors", "loop.types", "loop.settings", "loop.library")
"""Modules that define the names of the library, the lightest first."""


def __getattr__(name: str) -> object:
    """Import a name of the library when it is first used (PEP 562)."""
    if name in __all__:
        # One module after the other: an error or a noun is found before `loop.library` would be imported.
        for home in _HOMES:
            if (found := getattr(import_module(home), name, None)) is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
