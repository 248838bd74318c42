"""The verbs of the event log: capture, topics, dlq."""

import signal
import time
from collections.abc import Generator
from contextlib import closing, suppress
from dataclasses import asdict
from threading import Event
from typing import TYPE_CHECKING

import click

from loop.cli import terminal
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.errors import NotFoundError, UnreachableError, UsageError

if TYPE_CHECKING:
    from connectors.prometheus import CaptureMetrics
    from loop.intake.capture import Step

LAG_SECONDS = 10.0
"""Seconds between two measurements of how far the store is behind the log."""
IDLE_SECONDS = 0.2
"""Seconds that pass before a log that had nothing to read is polled again."""


@click.command(cls=Verb, access=Access.WRITES)
@click.option("--until-caught-up", is_flag=True, help="End when all that is in the log now is stored.")
@click.option("--metrics", metavar="HOST:PORT", help="Show /metrics and /healthz there while following.")
@click.pass_obj
def capture(session: Session, until_caught_up: bool, metrics: str | None) -> None:
    """Store the events of the event log, exactly once.

    It runs until SIGTERM or Ctrl-C. Several processes share the partitions of a Kafka topic. It waits for a broker or
    a database that does not answer, except with --until-caught-up.
    """
    if not until_caught_up:
        _follow(session, metrics)
        return
    done = session.loop.capture()
    watermark = session.app.store.watermark()
    said = f"stored {done.interactions} interactions, {done.feedback} feedback and {done.dead_letters} dead letters"
    session.show(
        f"{said}, {done.new_rows} of them new", {"watermark": watermark, **asdict(done)}, then="nightshift run"
    )


def _follow(session: Session, address: str | None) -> None:
    from connectors.prometheus import CaptureMetrics
    from loop.intake.capture import steps
    from loop.intake.outage import retrying

    stop, metrics = _stopped_by_signals(), CaptureMetrics()
    if address:
        host, _, port = address.rpartition(":")
        if not port.isdecimal():
            raise UsageError(f"--metrics {address} is not HOST:PORT", "for example: --metrics 127.0.0.1:9108")
        click.echo(f"metrics on {host or '127.0.0.1'}:{metrics.serve(host or '127.0.0.1', int(port))}", err=True)
    _require_topics(session)
    # A service outlives its broker and its database: it waits for them as long as nobody stops it.
    patience = float("inf")
    try:
        rounds = steps(
            session.app.log,
            # The first use of the store connects to the database, which may be away at that moment too.
            retrying(patience, stop)(lambda: session.app.store),
            batch_size=session.app.machine.batch_events,
            patience=patience,
            letters=session.app.letters,
            stop=stop,
        )
        _observe(session, rounds, metrics, stop)
    except UnreachableError:
        # A signal during an outage ends the waiting with this error; the end that was asked for is no fault.
        if not stop.is_set():
            raise


def _require_topics(session: Session) -> None:
    """Raises NotFoundError for an absent topic: at the start, not only when the first dead letter comes."""
    kafka = session.app.settings.addresses.kafka
    if kafka is None:
        return
    from connectors.kafka.topics import absent

    # A broker that is away is waited for by the rounds; here nothing can be said of its topics yet.
    with suppress(UnreachableError):
        if missing := absent(kafka, session.app.settings.log):
            raise NotFoundError(f"Kafka has no topic {' and no topic '.join(missing)}", "nightshift topics create")


def _observe(session: Session, rounds: "Generator[Step | None]", metrics: "CaptureMetrics", stop: Event) -> None:
    look_at = 0.0
    # Capture ends cleanly when its generator is closed, also when an error leaves this loop.
    with closing(rounds):
        for step in rounds:
            metrics.observe(step, session.app.log.partitions())
            if time.monotonic() >= look_at:
                # The lag is only shown. An outage is told, and waited for, by the rounds themselves.
                with suppress(UnreachableError):
                    metrics.behind(session.app.log.ends(), session.app.store.position)
                look_at = time.monotonic() + LAG_SECONDS
            if stop.is_set():
                return
            if step is None:
                stop.wait(IDLE_SECONDS)


def _stopped_by_signals() -> Event:
    """Event that SIGTERM or SIGINT sets, so that the current batch is stored before the process ends."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@click.group()
def topics() -> None:
    """Create the Kafka topics of events and of dead letters."""


@topics.command("create", cls=Verb, access=Access.WRITES)
@click.pass_obj
def create_topics(session: Session) -> None:
    """Create the topics as [log] in the settings says.

    Those that exist stay as they are.
    """
    from connectors.kafka.topics import create

    kafka = session.app.settings.addresses.kafka
    if kafka is None:
        raise UsageError("no broker is named", "set NIGHTSHIFT_KAFKA_SERVERS; the embedded log needs no topics")
    made = create(kafka, session.app.settings.log)
    session.show(
        "\n".join(f"{name}: {'made' if new else 'is there'}" for name, new in made.items()),
        made,
        then="nightshift capture",
    )


@click.group()
def dlq() -> None:
    """List, show and replay events that cannot be parsed."""


@dlq.command("list", cls=Verb, access=Access.READS)
@click.option("--all", "everything", is_flag=True, help="Also those that were replayed.")
@click.pass_obj
def list_letters(session: Session, everything: bool) -> None:
    """List dead letters, and why each was refused."""
    letters = session.loop.dead_letters(replayed=everything)
    rows = []
    for letter in letters:
        cells = (letter.letter_id[:12], f"{letter.source}:{letter.position}", letter.reason)
        # Reasons quote what was refused, which strangers wrote.
        rows.append([terminal.harmless(text) for text in cells])
    session.show(
        terminal.table(rows, ("letter", "from", "why")) or "none",
        # Only the size of a payload: JSON has no bytes, and `dlq show` gives those of one letter.
        {"dead_letters": [asdict(letter) | {"payload": len(letter.payload)} for letter in letters]},
        then=f"nightshift dlq show {letters[0].letter_id[:12]}" if letters else "",
    )


@dlq.command("show", cls=Verb, access=Access.READS)
@click.argument("letter_id")
@click.pass_obj
def show_letter(session: Session, letter_id: str) -> None:
    """Show the reason and the bytes of a dead letter.

    The first digits of its id are enough.
    """
    letter = session.loop.dead_letter(letter_id)
    text = letter.payload.decode(errors="backslashreplace")
    shown = terminal.harmless(f"{letter.source}:{letter.position}\n{letter.reason}\n\n{text}")
    session.show(shown, asdict(letter) | {"payload": text}, then=f"nightshift dlq replay {letter_id}")


@dlq.command("replay", cls=Verb, access=Access.WRITES)
@click.argument("letter_ids", nargs=-1)
@click.pass_obj
def replay_letters(session: Session, letter_ids: tuple[str, ...]) -> None:
    """Send dead letters again that can be parsed by now.

    All of them, or those that are named, through the event log.
    """
    chosen = [session.loop.dead_letter(each) for each in letter_ids] if letter_ids else None
    done = session.loop.replay(chosen)
    session.show(
        f"{done.sent} sent again, {done.still_dead} still cannot be parsed",
        {"sent": done.sent, "still": done.still_dead},
        then="nightshift capture --until-caught-up" if done.sent else "",
    )
