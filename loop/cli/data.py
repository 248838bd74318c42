"""The verbs on data: import, schema, curate, validate."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import click

from loop.app import now
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError

FIRST_YEAR, LAST_YEAR = 1970, 9000
FORMATS = (
    "nightshift",
    "openai-chat",
    "pairs",
    "gsm8k",
    "gsm8k-solutions",
    "tau-bench",
    "otel",
    "langfuse",
    "tensorzero",
)


class Moment(click.ParamType[datetime]):
    """An ISO 8601 date or time; without a zone it is UTC."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-11-22T03:00", param, ctx)
        # Before the conversion to UTC, which overflows at the ends of datetime's range.
        if not FIRST_YEAR <= moment.year <= LAST_YEAR:
            self.fail(f"{value!r} is not between {FIRST_YEAR} and {LAST_YEAR}", param, ctx)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


as_of_option = click.option("--as-of", type=Moment(), default=now, help="See the world as it was then (default: now).")


@click.command("import", cls=Verb, access=Access.WRITES)
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    default="nightshift",
    help=f"One of {', '.join(FORMATS)} (default: nightshift).",
)
@click.option("--start", type=Moment(), help="Time of the first line where lines have none.")
@click.pass_obj
def import_file(session: Session, file: Path, format_name: str, start: datetime | None) -> None:
    """Append a file to the event log and capture it.

    Bad lines are kept as dead letters with their line number and reason. A file imported twice is stored once,
    though the event log keeps both. Lines without a time follow each other by a second from --start (default:
    yesterday's midnight, UTC); give it to get the same snapshot from the same file on another day.
    """
    imported = session.loop.import_file(file, format_name, start=start)
    done = imported.captured
    session.show(
        f"{done.interactions} interactions, {done.feedback} feedback, {done.dead_letters} dead letters read; "
        f"{done.new_rows} rows are new",
        asdict(done),
        then="nightshift dlq list" if done.dead_letters else "nightshift run",
    )
    # After the counts were shown, since the lines are kept as dead letters. An empty file is of every format.
    if imported.nothing and file.stat().st_size:
        raise UsageError(
            f"nothing in {file} is of the format {format_name}: {imported.refusal or 'no line says anything'}",
            f"name its own with --format: {', '.join(each for each in FORMATS if each != format_name)}",
        )


@click.command(cls=Verb, access=Access.NIGHT)
@as_of_option
@click.option(
    "--until",
    type=click.IntRange(0, 2**63 - 1),
    metavar="SEQUENCE",
    help="Ingestion sequence to stop at (default: everything captured).",
)
@click.pass_obj
def curate(session: Session, as_of: datetime, until: int | None) -> None:
    """Make a snapshot of all feedback and print its id."""
    snapshot = session.loop.curate(as_of, until=until)
    counts = {**snapshot.counts, **snapshot.curation}
    lines = [snapshot.snapshot_id]
    lines += [f"  {count:7d}  {name}" for name, count in counts.items()]
    session.show(
        "\n".join(lines),
        {"snapshot_id": snapshot.snapshot_id, "counts": dict(snapshot.counts), "curation": dict(snapshot.curation)},
        then=f"nightshift validate {snapshot.snapshot_id}",
    )


@click.command(cls=Verb, access=Access.NIGHT)
@click.argument("snapshot_id")
@click.pass_obj
def validate(session: Session, snapshot_id: str) -> None:
    """Check a snapshot before anything is trained on it.

    Against the expectation suite and its bounds under [validation]; exit 3 when it may not be trained on.
    """
    validation = session.loop.validate(snapshot_id)
    text = "passed" if validation.passed else "failed:\n" + "\n".join(f"  {failure}" for failure in validation.failures)
    session.show(
        text,
        {"passed": validation.passed, "failures": validation.failures, "docs": validation.docs},
        then=f"nightshift train {snapshot_id}" if validation.passed else f"open {validation.docs}",
    )
    if not validation.passed:
        raise SystemExit(3)


@click.command(cls=Verb, access=Access.ANYWHERE)
def schema() -> None:
    """Print the JSON Schema of events.

    It says what producers in any language may send.
    """
    from loop.intake.events import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
