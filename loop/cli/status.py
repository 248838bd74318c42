"""The verbs that look at the nights: status and nights."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from loop.app import now
from loop.cli import terminal
from loop.cli.durations import Duration, ago, span
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.ports import NIGHT_LEASE
from loop.report import outcomes
from loop.types import Action, Night, NightStatus, Promotion, Verdict

if TYPE_CHECKING:
    from loop.ports import Holder

STALE = 1
EVENTS = ("interaction", "feedback", "dead_letter")
NOT_COUNTED = {"feedback", "evidence"}
"""Names of tables that have no plural."""
DONE: Mapping[Action, str] = {Action.PROMOTE: "promoted", Action.ROLLBACK: "rolled back", Action.ANCHOR: "approved"}
"""Past participle of each action."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A night as it is told: its result, the reason, and what its process does where the night has not ended."""

    night: Night
    result: str
    reason: str
    process: str = ""
    dead: bool = False


@click.command(cls=Verb, access=Access.READS)
@click.option(
    "--max-age", type=Duration(), metavar="DURATION", help="Exit 1 when no night has ended for so long: 26h, 90m, 2d."
)
@click.pass_obj
def status(session: Session, max_age: timedelta | None) -> None:
    """Who serves since when and why, and the last night.

    With --max-age one line for a monitor: exit 1 when no night has ended since.
    """
    if max_age is not None:
        _require_fresh(session, max_age)
        return
    from loop.promotion import anchor, champion, last_move

    rows, counts = session.app.ledger.entries(), session.app.store.counts()
    last = next(reversed(seen(session)), None)
    moved = last_move(rows)
    lines = list(_who_serves(session.app.settings.model.name, champion(rows), anchor(rows), moved))
    lines += _last_night(last)
    lines += _stored(counts)
    session.show(
        terminal.table(lines),
        {
            "champion": champion(rows),
            "anchor": anchor(rows),
            "since": moved and moved.recorded_at,
            "actor": moved and moved.actor,
            "reason": moved and moved.reason,
            "last_night": last and last.night.night_id,
            "night": last and _told(last),
            "counts": dict(counts),
        },
        then=_next_step(last, counts),
    )


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
def nights(session: Session) -> None:
    """Every night, what came of it and why, oldest first."""
    found = seen(session)
    rows = [(each.night.night_id, f"{each.night.as_of:%Y-%m-%d %H:%M}", each.result, each.reason) for each in found]
    told = [{**asdict(each.night), "outputs": each.night.outputs.by_stage(), **_told(each)} for each in found]
    session.show(
        terminal.table(rows, ("night", "as of", "result", "why")) or "none yet",
        {"nights": told},
        then="nightshift status" if found else "nightshift run",
    )


def seen(session: Session) -> list[Seen]:
    """Every night as it is told, oldest first."""
    rows = session.app.ledger.entries()
    found = session.app.store.nights()
    # Nights run one at a time, so only the last can be open and have a process that holds the lease.
    holder = session.app.store.holder(NIGHT_LEASE) if found and found[-1].finished_at is None else None
    return [_ended(session, night, rows) if night.finished_at else _unfinished(night, holder) for night in found]


def _ended(session: Session, night: Night, rows: Sequence[Promotion]) -> Seen:
    decision_id = night.outputs.decision_id
    decision = session.app.store.decision(decision_id) if decision_id else None
    # A night may fail, or be given up, after its verdict: what it came to then is no promotion.
    if night.status is NightStatus.FAILED:
        return Seen(night, night.status.upper(), outcomes.why(night, None))
    result = outcomes.outcome(night, rows)
    if night.verdict is Verdict.PROMOTE and not outcomes.promoted(night, rows):
        return Seen(night, result, outcomes.why_not_promoted(night).replace("`", ""))
    return Seen(night, result, outcomes.why(night, decision))


def _unfinished(night: Night, holder: "Holder | None") -> Seen:
    process, lives = _process(holder)
    begun = f"began {ago(night.started_at, now())}; {process}"
    return Seen(night, f"{'running' if lives else 'DEAD'} in {night.next_stage}", begun, process, dead=not lives)


def _process(holder: "Holder | None") -> tuple[str, bool]:
    """A sentence about the process of a night, and whether that process lives."""
    if holder is None:
        return "no process works on it", False
    name = f"process {holder.process_id} on {holder.host}"
    # Of another machine's process only the lease tells: a live one renews it long before it ends.
    if holder.alive is None:
        silent = holder.expires_at <= now()
        return (f"{name} is silent since {holder.expires_at:%Y-%m-%d %H:%M} UTC" if silent else name), not silent
    return (name if holder.alive else f"{name} is gone"), holder.alive


def _told(each: Seen) -> dict[str, object]:
    night = each.night
    return {
        "result": each.result,
        "reason": each.reason,
        "stage": None if night.finished_at else night.next_stage,
        "process": each.process or None,
        "dead": each.dead,
        "began_at": night.started_at,
        "ended_at": night.finished_at,
    }


def _who_serves(model: str, serving: int, approved: int, moved: Promotion | None) -> Iterator[tuple[str, str]]:
    yield "serving", f"{model}@{serving}{'' if serving else ', the base model'}"
    if moved is not None:
        yield "", f"since {ago(moved.recorded_at, now())}"
        yield "", f"{DONE[moved.action]} by {moved.actor}{f': {moved.reason}' if moved.reason else ''}"
    yield "anchor", f"{model}@{approved}" if approved else f"{model}@0, the base model: no person approved a version"


def _last_night(last: Seen | None) -> Iterator[tuple[str, str]]:
    if last is None:
        yield "last night", "none yet"
        return
    yield "last night", last.night.night_id
    yield "", last.result
    if last.reason:
        yield "", last.reason
    if last.night.finished_at:
        yield "", f"ended {ago(last.night.finished_at, now())}"


def _stored(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    if not any(counts[name] for name in EVENTS):
        yield "stored", "nothing was imported yet"
        return
    yield "stored", ", ".join(_counted(name, count) for name, count in counts.items() if count or name in EVENTS)


def _counted(name: str, count: int) -> str:
    plural = "" if count == 1 or name in NOT_COUNTED else "s"
    return f"{count:,} {name.replace('_', ' ')}{plural}"


def _next_step(last: Seen | None, counts: Mapping[str, int]) -> str:
    if last and last.dead:
        return "nightshift run goes on with it; nightshift run --abandon REASON gives it up"
    if last:
        return 'nightshift ask "..."'
    return "nightshift run" if counts["feedback"] else "nightshift import FILE --format FORMAT"


def _require_fresh(session: Session, max_age: timedelta) -> None:
    """Show one line for a monitor; exit code 1 when no night has ended for `max_age`."""
    found = seen(session)
    ends = [(each.night.finished_at, each.night.night_id) for each in found if each.night.finished_at]
    ended_at, night_id = max(ends, default=(None, ""))
    moment = now()
    fresh = ended_at is not None and moment - ended_at <= max_age
    text = f"{night_id} ended {ago(ended_at, moment)}" if ended_at else "no night has ended yet"
    text = text if fresh else f"{text}, {span(max_age)} are allowed"
    # A night that hangs is why the last one that ended is too old.
    if found and found[-1].night.finished_at is None:
        text += f"; {found[-1].night.night_id} is {found[-1].result}, {found[-1].reason}"
    session.show(
        f"{'ok' if fresh else 'LATE'}: {text}",
        {"ok": fresh, "ended_at": ended_at, "max_age_seconds": max_age.total_seconds()},
    )
    if not fresh:
        raise SystemExit(STALE)
