"""The verbs that look at the nights: status and nights."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta

import click

from loop.app import now
from loop.cli import terminal
from loop.cli.durations import Duration
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.report.spans import ago, span
from loop.report.standings import Standing
from loop.results import Status
from loop.types import Action

STALE = 1
EVENTS = ("interaction", "feedback", "dead_letter")
NOT_COUNTED = {"feedback", "evidence"}
"""Names of tables that have no plural."""
DONE: Mapping[Action, str] = {Action.PROMOTE: "promoted", Action.ROLLBACK: "rolled back", Action.ANCHOR: "approved"}
"""Past participle of each action."""


@click.command(cls=Verb, access=Access.READS)
@click.option(
    "--max-age", type=Duration(), metavar="DURATION", help="Exit 1 when no night has ended for so long: 26h, 90m, 2d."
)
@click.pass_obj
def status(session: Session, max_age: timedelta | None) -> None:
    """Show the serving version and the last night.

    With --max-age it prints one line for a monitor, and exits with 1 when no night has ended for that long.
    """
    if max_age is not None:
        _require_fresh(session, max_age)
        return
    found = session.loop.status()
    last, moved = found.last_night, found.moved
    lines = list(_who_serves(found))
    lines += _last_night(last)
    lines += _stored(found.counts)
    session.show(
        terminal.table(lines),
        {
            "champion": found.champion,
            "anchor": found.anchor,
            "since": moved and moved.recorded_at,
            "actor": moved and moved.actor,
            "reason": moved and moved.reason,
            "last_night": last and last.night.night_id,
            "night": last and _fields(last),
            "counts": dict(found.counts),
        },
        then=_next_step(last, found.counts),
    )


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
def nights(session: Session) -> None:
    """List all nights with their results and reasons."""
    found = session.loop.status().nights
    rows = [(each.night.night_id, f"{each.night.as_of:%Y-%m-%d %H:%M}", each.result, each.reason) for each in found]
    rows_as_json = [{**asdict(each.night), "outputs": each.night.outputs.by_stage(), **_fields(each)} for each in found]
    session.show(
        terminal.table(rows, ("night", "as of", "result", "why")) or "none yet",
        {"nights": rows_as_json},
        then="nightshift status" if found else "nightshift run",
    )


def _fields(each: Standing) -> dict[str, object]:
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


def _who_serves(found: Status) -> Iterator[tuple[str, str]]:
    model, moved = found.model, found.moved
    yield "serving", f"{model}@{found.champion}{'' if found.champion else ', the base model'}"
    if moved is not None:
        yield "", f"since {ago(moved.recorded_at, now())}"
        yield "", f"{DONE[moved.action]} by {moved.actor}{f': {moved.reason}' if moved.reason else ''}"
    yield "anchor", f"{model}@{found.anchor}{'' if found.anchor else ', the base model: no person approved a version'}"


def _last_night(last: Standing | None) -> Iterator[tuple[str, str]]:
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


def _next_step(last: Standing | None, counts: Mapping[str, int]) -> str:
    if last and last.dead:
        return "nightshift run goes on with it; nightshift run --abandon REASON gives it up"
    if last:
        return 'nightshift ask "..."'
    return "nightshift run" if counts["feedback"] else "nightshift import FILE --format FORMAT"


def _require_fresh(session: Session, max_age: timedelta) -> None:
    """Show one line for a monitor; exit code 1 when no night has ended for `max_age`."""
    found = session.loop.status().nights
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
