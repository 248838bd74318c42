"""Results of the library's methods that are not stored: of an import, of a replay, and the status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loop.types import Promotion

if TYPE_CHECKING:
    from loop.intake.capture import Captured
    from loop.report.standings import Standing


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check of `Loop.doctor`."""

    name: str
    """Name of what was checked."""
    ok: bool
    """Whether a night can begin as far as this goes."""
    text: str
    """Text of what was found; where it is not well, also what to do."""


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """Result of importing a file."""

    captured: "Captured"
    refusal: str
    """Why its first line that could not be read was refused; empty where all could be read."""

    @property
    def nothing(self) -> bool:
        """Whether no line gave an event."""
        return not self.captured.interactions + self.captured.feedback


@dataclass(frozen=True, slots=True)
class Replayed:
    """Result of sending dead letters again."""

    sent: int
    still_dead: int
    """Letters that cannot be parsed now, either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The version that serves, since when and why, and the result of each night."""

    model: str
    champion: int
    """The version that serves; 0 is the base model."""
    anchor: int
    moved: Promotion | None
    """The row of the ledger that made the champion serve; None where the base model was never replaced."""
    nights: tuple["Standing", ...]
    """Every night, oldest first."""
    counts: Mapping[str, int]
    """Rows of the store by table."""

    @property
    def last_night(self) -> "Standing | None":
        """The newest night; None before the first."""
        return self.nights[-1] if self.nights else None
