"""The store of events: capture writes them, exactly once, and curation reads them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from loop.ports.log import Batch, Partition
from loop.types import DeadLetter, Feedback, Interaction


@dataclass(frozen=True, slots=True)
class Parsed:
    """A batch after parsing: the events of one database transaction."""

    batch: Batch
    interactions: tuple[Interaction, ...]
    feedback: tuple[Feedback, ...]
    dead_letters: tuple[DeadLetter, ...]


class EventStore(Protocol):
    """All captured events, and how far each partition of the log is captured."""

    def position(self, partition: Partition) -> int:
        """Offset of the entry to read next; 0 for a partition that was never read."""

    def ingest(self, parsed: Parsed) -> int:
        """Store rows, dead letters and the new offset in one transaction; returns the number of new rows.

        Events seen before (same source and id) change nothing. Raises FencedError when the stored offset is not
        `parsed.batch.start`: another process reads this partition, and nothing was written.
        """

    def prepare(self, parsed: Parsed) -> Callable[[], int]:
        """Prepare an `ingest` as far as it needs no database; a call of the result is the transaction."""

    def watermark(self) -> int:
        """The highest committed ingestion sequence; rows at or below it never change."""

    def interactions(self, until: int) -> Iterator[Interaction]:
        """Every interaction with an ingestion sequence of at most `until`, oldest first."""

    def newest_interactions(self, count: int) -> tuple[Interaction, ...]:
        """The last `count` interactions by ingestion, newest first."""

    def feedback(self, until: int) -> Iterator[Feedback]:
        """Every feedback with an ingestion sequence of at most `until`, oldest first."""

    def dead_letters(self) -> tuple[DeadLetter, ...]:
        """All dead letters, oldest first."""

    def mark_replayed(self, letter_id: str, at: datetime) -> None:
        """Note that a dead letter was sent again."""
