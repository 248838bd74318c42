"""The event log: encoded events in, and out again in their order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Envelope:
    """An encoded event for a log; events with the same key keep their order."""

    key: str
    payload: bytes


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """One ordered sequence inside an event log."""

    topic: str
    number: int


# A tuple, because a log makes one for every event that it brings.
class Entry(NamedTuple):
    """One payload of a partition at its offset."""

    offset: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive entries of one partition, read from the position `start`; reading goes on at `next`."""

    partition: Partition
    # Not the offsets of the first and last entry: a log may have gaps on both sides of them.
    start: int
    next: int
    entries: tuple[Entry, ...]


class EventLog(Protocol):
    """An ordered, durable log of encoded events. Raises UnreachableError when the service does not answer."""

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Append events, durable when it returns."""

    def partitions(self) -> tuple[Partition, ...]:
        """Partitions that this reader has now; a service may give and take them at any time."""

    def unplaced(self) -> tuple[Partition, ...]:
        """Partitions of this reader that wait for their first seek and bring nothing until then."""

    def ends(self) -> Mapping[Partition, int]:
        """Offset that the next entry of each partition will get, also of partitions of other readers."""

    def seek(self, partition: Partition, position: int) -> None:
        """Let the next poll of `partition` start at `position`. Raises NotFoundError when it is not this reader's."""

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:
        """At most `limit` entries in all; none when none came for a moment or, without `wait`, none is there yet."""

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Tell the service's own tools that everything before `position` is stored; the loop does not rely on it."""

    def wait(self, seconds: float) -> None:
        """Wait without reading, and without losing the partitions."""

    def close(self) -> None:
        """Close the log; other readers get the partitions at once."""
