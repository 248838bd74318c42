"""Port of the ledger, which says what version serves and who made it the champion."""

from typing import Protocol

from loop.types import Promotion


class Ledger(Protocol):
    """The append-only, hash-chained history of champions; what it says serves, serves."""

    def ledger_id(self) -> str:
        """Id of the ledger, made once and never changed, by which a registry knows whose champions it shows."""

    def entries(self) -> tuple[Promotion, ...]:
        """All rows, oldest first. Raises IntegrityError when a hash does not fit its row or its predecessor."""

    def append(self, entry: Promotion) -> None:
        """Append a row. Raises StaleChampionError when its sequence is taken, because another writer was first."""
