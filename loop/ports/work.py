"""Arguments that long work takes from its caller: a clock, and a receiver of its progress."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """The time in UTC; tests and simulations have clocks of their own."""

    def __call__(self) -> datetime: ...


class Progress(Protocol):
    """Receiver of the progress of long work; `done == of` is its end, also of work that was cut short."""

    def __call__(self, stage: str, done: int, of: int, note: str) -> None: ...


def silent(stage: str, done: int, of: int, note: str) -> None:
    """A `Progress` that says nothing."""
