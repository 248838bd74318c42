"""Moves of the champion."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Action(StrEnum):
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ANCHOR = "anchor"


# Every field is hashed into `entry_hash`: a further one would break the chain of every ledger that exists.
@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One row of the append-only, hash-chained ledger. Version 0 is the base model without an adapter."""

    sequence: int
    action: Action
    model: str
    from_version: int
    to_version: int
    adapter_sha256: str | None
    """sha256 of the adapter of `to_version`; None for the base model."""
    decision_id: str | None
    """Id of the decision behind the move; None for a move by a person without one."""
    actor: str
    reason: str
    recorded_at: datetime
    previous_hash: str
    entry_hash: str

    @property
    def moves_champion(self) -> bool:
        """Whether another version serves since; an approval names the anchor and moves nobody."""
        match self.action:
            case Action.PROMOTE | Action.ROLLBACK:
                return True
            case Action.ANCHOR:
                return False
