"""The store: events, nights and leases in one database, which capture, nights and commands share."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from loop.ports.events import EventStore
from loop.ports.nights import Leases, NightStore


class Store(EventStore, NightStore, Leases, Protocol):
    """The database of a loop; a caller that needs one role takes that role. Raises UnreachableError without answer."""

    def clock(self) -> datetime:
        """Time of the database."""

    def counts(self) -> Mapping[str, int]:
        """Rows per table: interaction, feedback, dead_letter, ..."""
