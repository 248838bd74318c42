"""The verbs to set a project up: init writes the settings file, doctor looks for what would go wrong tonight."""

from pathlib import Path

import click

from loop.cli.progress import ShownProgress
from loop.cli.session import Session
from loop.cli.template import render
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError
from loop.files import write_text
from loop.settings import SETTINGS_FILE, Settings


@click.command(cls=Verb, access=Access.ANYWHERE)
@click.option("--print", "only_print", is_flag=True, help="Print the file instead of writing it.")
@click.option("--kafka", is_flag=True, help="With [log], the event log on Kafka.")
@click.pass_obj
def init(session: Session, only_print: bool, kafka: bool) -> None:
    """Write a commented nightshift.toml into this folder.

    Every setting stands in it with its default and what it may be; what to decide first is at the top.
    """
    text = render(Settings(), kafka=kafka)
    if only_print:
        click.echo(text, nl=False)
        return
    path = Path(SETTINGS_FILE)
    if path.exists():
        raise UsageError(f"{path} exists already", "edit it, or compare it with `nightshift init --print`")
    write_text(path, text)
    session.show(f"wrote {path}", {"settings": path}, then=f"decide what is at the top of {path}; nightshift doctor")


@click.command(cls=Verb, access=Access.ANYWHERE)
@click.option("--model", is_flag=True, help="Also load the champion and let it say a token.")
@click.pass_obj
def doctor(session: Session, model: bool) -> None:
    """Look for what would go wrong tonight.

    Libraries, databases, ledger, registry, base model, suites and disk; exit 1 when something needs a hand.
    """
    from loop.cli.checks import CHECKS, MODEL

    checks = list(CHECKS)
    if model:
        checks.append(MODEL)
    progress, findings = ShownProgress(), []
    for number, (name, check) in enumerate(checks, 1):
        # One more than there are checks, because a step that equals the total is the end of the work.
        progress("doctor", number, len(checks) + 1, name)
        findings.append(check(session))
    progress("doctor", 1, 1, "ended")
    well = all(found.ok for found in findings)
    session.show(
        "\n".join(f"{'ok ' if found.ok else 'BAD'}  {found.name:10}  {found.text}" for found in findings),
        {"checks": [{"name": found.name, "ok": found.ok, "text": found.text} for found in findings]},
        then="nightshift import FILE --format FORMAT, then nightshift run" if well else "",
    )
    if not well:
        raise SystemExit(1)
