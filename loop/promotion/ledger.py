"""The hash chain of the ledger, as pure functions: each promotion carries the hash of the one before it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime

from loop.errors import IntegrityError
from loop.hashing import digest
from loop.types import Action, Promotion

GENESIS = "0" * 64
"""The `previous_hash` of the first row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Content of a row of the ledger, before its place in the chain is known; fields as in `Promotion`."""

    action: Action
    model: str
    from_version: int
    to_version: int
    adapter_sha256: str | None
    decision_id: str | None = None
    actor: str
    reason: str
    recorded_at: datetime


def link(previous: Promotion | None, move: Move) -> Promotion:
    """The row that follows `previous`, hashed; sequences count from 1."""
    entry = Promotion(
        **asdict(move),
        sequence=next_sequence(previous),
        previous_hash=_hash_of(previous),
        entry_hash="",  # filled in below: the hash covers every field but itself
    )
    return replace(entry, entry_hash=entry_hash(entry))


def entry_hash(entry: Promotion) -> str:
    """sha256 (hex) over canonical JSON of every field but `entry_hash` itself."""
    return digest({field.name: getattr(entry, field.name) for field in fields(entry) if field.name != "entry_hash"})


def next_sequence(previous: Promotion | None) -> int:
    """Sequence of the row that follows `previous`."""
    return 1 if previous is None else previous.sequence + 1


def verify(entries: Iterable[Promotion]) -> None:
    """Raises IntegrityError at the first row that was changed, removed or inserted later.

    Rows missing at the end leave a valid chain; the registry's aliases, which then name a later version, show those.
    """
    previous = None
    for entry in entries:
        follow(previous, entry)
        previous = entry


def follow(previous: Promotion | None, entry: Promotion) -> None:
    """Raises IntegrityError unless `entry` is unchanged and the direct successor of `previous`."""
    if entry.entry_hash != entry_hash(entry):
        raise _broken(entry, "its hash does not fit its content")
    # A row rewritten with a fresh hash passes the check above: its successor still carries the old one.
    if (entry.sequence, entry.previous_hash) != (next_sequence(previous), _hash_of(previous)):
        raise _broken(entry, "it does not follow the row before it")


def _hash_of(previous: Promotion | None) -> str:
    return GENESIS if previous is None else previous.entry_hash


def _broken(entry: Promotion, why: str) -> IntegrityError:
    return IntegrityError(
        f"ledger row {entry.sequence} breaks the chain: {why}",
        "trust no row from this one on; restore the ledger from a backup",
    )
