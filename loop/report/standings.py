"""Standings of nights: the result and its reason, and the state of the process where a night has not ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from loop.ports import NIGHT_LEASE, Holder, Store
from loop.report import outcomes
from loop.report.spans import ago
from loop.types import Night, NightStatus, Promotion, Verdict


@dataclass(frozen=True, slots=True)
class Standing:
    """Standing of a night: its result, the reason, and the state of its process where the night has not ended."""

    night: Night
    result: str
    reason: str
    process: str = ""
    dead: bool = False
    """Whether the night has not ended and no process works on it."""


def standings(store: Store, rows: Sequence[Promotion], now: datetime) -> tuple[Standing, ...]:
    """Standings of all nights, oldest first; `rows` are the ledger's, which say what a person promoted later."""
    found = store.nights()
    # Nights run one at a time, so only the last can be open and have a process that holds the lease.
    holder = store.holder(NIGHT_LEASE) if found and found[-1].finished_at is None else None
    return tuple(_ended(store, night, rows) if night.finished_at else _open(night, holder, now) for night in found)


def _ended(store: Store, night: Night, rows: Sequence[Promotion]) -> Standing:
    decision_id = night.outputs.decision_id
    decision = store.decision(decision_id) if decision_id else None
    # A night may fail, or be given up, after its verdict: what it came to then is no promotion.
    if night.status is NightStatus.FAILED:
        return Standing(night, night.status.upper(), outcomes.why(night, None))
    result = outcomes.outcome(night, rows)
    if night.verdict is Verdict.PROMOTE and not outcomes.promoted(night, rows):
        return Standing(night, result, outcomes.why_not_promoted(night).replace("`", ""))
    return Standing(night, result, outcomes.why(night, decision))


def _open(night: Night, holder: Holder | None, now: datetime) -> Standing:
    process, lives = _process(holder, now)
    begun = f"began {ago(night.started_at, now)}; {process}"
    return Standing(night, f"{'running' if lives else 'DEAD'} in {night.next_stage}", begun, process, dead=not lives)


def _process(holder: Holder | None, now: datetime) -> tuple[str, bool]:
    """A sentence about the process of a night, and whether that process lives."""
    if holder is None:
        return "no process works on it", False
    name = f"process {holder.process_id} on {holder.host}"
    # Of another machine's process only the lease tells: a live one renews it long before it ends.
    if holder.alive is None:
        silent = holder.expires_at <= now
        return (f"{name} is silent since {holder.expires_at:%Y-%m-%d %H:%M} UTC" if silent else name), not silent
    return (name if holder.alive else f"{name} is gone"), holder.alive
