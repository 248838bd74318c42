"""The verbs on versions: promote, rollback, approve, reconcile, history."""

import getpass
import os
from dataclasses import asdict
from datetime import datetime

import click

from loop.app import now
from loop.cli import terminal
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError
from loop.types import Promotion


def login() -> str:
    """Name of the user who runs the command, or the uid where a container's user has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the latter from Python 3.13 on
        return f"uid {os.getuid()}"


actor_option = click.option("--actor", default=login, help="Who does this (default: the login name).")
reason_option = click.option("--reason", default="", help="Why; kept in the ledger.")


def _show(session: Session, row: Promotion, asked_at: datetime) -> None:
    """Show what was done, or that nothing was left to do."""
    # The library returns the row that stands already when the version serves; such a row is older than the request.
    name, was_so = row.model, row.recorded_at < asked_at
    done = f"{row.action}: {name}@{row.from_version} -> {name}@{row.to_version}  ledger row {row.sequence}"
    session.show(
        f"nothing to do, {name}@{row.to_version} serves already; {done}" if was_so else done,
        {
            "action": row.action,
            "from": row.from_version,
            "to": row.to_version,
            "sequence": row.sequence,
            "was_so": was_so,
        },
        then='nightshift ask "..."' if row.moves_champion else "nightshift history",
    )


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("version", type=int)
@click.option("--decision", "decision_id", help="The gate's PROMOTE decision this rests on.")
@click.option("--force", is_flag=True, help="Without a decision, on your own word; needs --reason.")
@actor_option
@reason_option
@click.pass_obj
def promote(session: Session, version: int, decision_id: str | None, force: bool, actor: str, reason: str) -> None:
    """Make a version the champion.

    In the ledger first, then in the registry's aliases. Rests on a PROMOTE decision (--decision), or on your own word
    (--force and --reason).
    """
    asked_at = now()
    if force == bool(decision_id):
        raise UsageError("a promotion rests on --decision ID or on --force", "name one of the two")
    row = session.loop.promote(version, decision_id=decision_id, actor=actor, reason=reason)
    _show(session, row, asked_at)


@click.command(cls=Verb, access=Access.WRITES)
@click.option("--to", type=int, help="The version to return to (default: one step back).")
@actor_option
@reason_option
@click.pass_obj
def rollback(session: Session, to: int | None, actor: str, reason: str) -> None:
    """Return to the champion before this one.

    Or to an earlier one with --to. Needs only the ledger and the registry.
    """
    asked_at = now()
    row = session.loop.rollback(to=to, actor=actor, reason=reason)
    _show(session, row, asked_at)


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("version", type=int)
@actor_option
@reason_option
@click.pass_obj
def approve(session: Session, version: int, actor: str, reason: str) -> None:
    """Approve a champion: no candidate may fall behind it.

    It becomes the anchor, the champion that a person approved last. A rollback that takes it back takes the approval
    with it; the approval before it counts again.
    """
    asked_at = now()
    row = session.loop.approve(version, actor=actor, reason=reason)
    _show(session, row, asked_at)


@click.command(cls=Verb, access=Access.WRITES)
@click.pass_obj
def reconcile(session: Session) -> None:
    """Make MLflow's aliases say what the ledger says.

    After a crash between the two; safe at any time.
    """
    repairs = session.loop.reconcile()
    session.show("\n".join(repairs) or "nothing to repair", {"repairs": repairs}, then="nightshift status")


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
def history(session: Session) -> None:
    """Every promotion, rollback and approval, verified.

    Against the ledger's hash chain.
    """
    rows = session.loop.history()
    headers = ("row", "when (UTC)", "what", "champion", "who", "why")
    text = terminal.table([_cells(row) for row in rows], headers) or "nothing was promoted yet"
    session.show(text, {"history": [asdict(row) for row in rows]}, then="nightshift status")


def _cells(row: Promotion) -> tuple[str, ...]:
    """Cells of a row: number, time, action, move, actor and reason."""
    move = f"{row.model}@{row.from_version} -> {row.model}@{row.to_version}"
    return str(row.sequence), f"{row.recorded_at:%Y-%m-%d %H:%M}", row.action, move, row.actor, row.reason
