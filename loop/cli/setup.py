"""The verbs to set a project up: init writes the settings file, doctor looks for what would go wrong tonight."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from loop.cli.session import Session
from loop.cli.template import render
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError
from loop.files import write_text
from loop.settings import SETTINGS_FILE, Settings
from loop.settings.migrate import migrated


@click.command(cls=Verb, access=Access.ANYWHERE)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
@click.option("--kafka", is_flag=True, help="With [log], the event log on Kafka.")
@click.option("--migrate", is_flag=True, help="Rewrite the file of an earlier version.")
@click.pass_context
def init(context: click.Context, only_print: bool, kafka: bool, migrate: bool) -> None:
    """Write a commented nightshift.toml into this folder.

    Every setting stands in it with its default and what it may be; what to decide first is at the top. With --migrate
    the file that is there keeps its values and comments and gets today's keys; it is kept as it was beside itself.
    """
    session: Session = context.obj
    if migrate:
        _migrate(session, context.find_root().params.get("config") or Path(SETTINGS_FILE), only_print=only_print)
        return
    text = render(Settings(), kafka=kafka)
    if only_print:
        click.echo(text, nl=False)
        return
    path = Path(SETTINGS_FILE)
    if path.exists():
        raise UsageError(f"{path} exists already", "edit it, or compare it with `nightshift init --print`")
    write_text(path, text)
    session.show(f"wrote {path}", {"settings": path}, then=f"decide what is at the top of {path}; nightshift doctor")


def _migrate(session: Session, path: Path, *, only_print: bool) -> None:
    """Rewrite a settings file in today's keys; one that has them already stays as it is."""
    found = migrated(_read(path))
    if only_print:
        click.echo(found.text, nl=False)
        return
    if not found.older:
        session.show(f"{path} has today's keys already", {"settings": path, "backup": None, "keys": {}})
        return
    backup = _kept(path)
    # In one move, through another name: a file that is half written would stop every command.
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(found.text)
    draft.chmod(path.stat().st_mode & 0o777)
    draft.replace(path)
    said = [f"wrote {path}; as it was: {backup}"]
    for older in found.older:
        mark = f" (it was {json.dumps(older.value)})" if older.changes else ""
        said.append(f"  {older.said}{mark}")
    keys = {older.key: older.said for older in found.older}
    session.show("\n".join(said), {"settings": path, "backup": backup, "keys": keys}, then="nightshift doctor")


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read settings from {path}: {error}", "name the file with --config FILE") from error


def _kept(path: Path) -> Path:
    """A copy of the file beside it, under a name that nothing has."""
    number = 1
    while True:
        copy = path.with_name(f"{path.name}.before-{number}")
        try:
            with copy.open("xb") as file:
                file.write(path.read_bytes())
        except FileExistsError:
            number += 1
        else:
            return copy


@click.command(cls=Verb, access=Access.ANYWHERE)
@click.option("--model", is_flag=True, help="Also load the champion and let it say a token.")
@click.pass_obj
def doctor(session: Session, model: bool) -> None:
    """Look for what would go wrong tonight.

    Libraries, databases, ledger, registry, base model, suites and disk; exit 1 when something needs a hand.
    """
    findings = session.loop.doctor(model=model)
    well = all(found.ok for found in findings)
    then = (
        "nightshift import FILE --format FORMAT, then nightshift run" if session.app.is_project else "nightshift init"
    )
    session.show(
        "\n".join(f"{'ok ' if found.ok else 'BAD'}  {found.name:10}  {found.text}" for found in findings),
        {"checks": [asdict(found) for found in findings]},
        then=then if well else "",
    )
    if not well:
        raise SystemExit(1)
