"""The verbs that talk with a model: ask and chat."""

import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loop.cli import terminal
from loop.cli.conversation import Flags, decides, describe, opening, question, sampling
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError
from loop.promotion import champion
from loop.types import Message, Sampling

if TYPE_CHECKING:
    from loop.models import LanguageModel

log = logging.getLogger(__name__)
STARTED = time.monotonic()
"""Time at which this module was imported: the earliest that the command's own code knows of its start."""
END = {"/quit", "/exit"}


@dataclass(frozen=True, slots=True)
class Answerer:
    """A loaded model, and the sampling with which it answers."""

    name: str
    model: "LanguageModel"
    sampling: Sampling
    aloud: bool
    """Whether answers are printed token by token; otherwise they are only returned, whole."""

    def answer(self, messages: list[Message], asked_at: float) -> str:
        """Answer to `messages`; the seconds from `asked_at` to its first word, and to its end, are logged."""
        said: list[str] = []
        for piece in self.model.stream(messages, self.sampling):
            # White space is no first word yet.
            if not "".join(said).strip() and piece.strip():
                log.info("first word after %.2f s", time.monotonic() - asked_at)
            said.append(piece)
            if self.aloud:
                # Only a terminal obeys control characters; a pipe gets the answer as the model gave it.
                click.echo(terminal.harmless(piece) if sys.stdout.isatty() else piece, nl=False)
        if self.aloud:
            click.echo()
        log.info("whole answer after %.2f s", time.monotonic() - asked_at)
        return "".join(said)


@dataclass(frozen=True, slots=True)
class Asking:
    """Options of a question: the version, the messages before it, and the sampling."""

    version: int | None
    """None for the champion."""
    base: bool
    """Whether the base model is asked, without an adapter."""
    system: str | None
    file: Path | None
    """File with messages that come before the question."""
    flags: Flags


OPTIONS = (
    click.option("--version", type=int, help="This version (default: the champion)."),
    click.option("--base", is_flag=True, help="The base model without an adapter."),
    click.option("--system", metavar="TEXT", help="System prompt before the question."),
    click.option("--file", type=click.Path(path_type=Path), help="JSON with messages that come before."),
    click.option("--temperature", type=click.FloatRange(0), metavar="T", help="Of the draws; 0 is greedy."),
    click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), metavar="P", help="Nucleus of the draws."),
    click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="Longest answer."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="Draw the same answer again."),
    click.option("--greedy", is_flag=True, help="Take the likeliest token each time."),
)


def asking(body: Callable[..., None]) -> Callable[..., None]:
    """Decorator that adds the options which `ask` and `chat` share; the verb gets them as one `Asking`."""

    @wraps(body)
    def verb(session: Session, **options: Any) -> None:  # noqa: ANN401 - as click read them
        flags = Flags(**{field.name: options.pop(field.name) for field in fields(Flags)})
        shared = {name: options.pop(name) for name in ("version", "base", "system", "file")}
        body(session, Asking(**shared, flags=flags), **options)

    # The decorator applied last comes first in the help.
    for option in reversed(OPTIONS):
        verb = option(verb)
    return verb


@click.command(cls=Verb, access=Access.READS)
@click.argument("text", metavar="[QUESTION]", required=False)
@click.pass_obj
@asking
def ask(session: Session, asked: Asking, text: str | None) -> None:
    """Ask the champion, or another version, a question.

    QUESTION - reads it from standard input; with --file it may be left out. The answer is drawn as those of the newest
    interactions in the store were, or as the options say.
    """
    messages, words = opening(asked.system, asked.file), question(text)
    if words is not None:
        messages.append(Message("user", words))
    if not messages or messages[-1].role not in {"user", "tool"}:
        raise UsageError("nothing is asked", "add a question, or - to read it from standard input")
    answerer = _load(session, asked)
    answer = answerer.answer(messages, STARTED)
    if session.as_json:
        session.show("", {"model": answerer.name, "answer": answer, "sampling": asdict(answerer.sampling)})


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
@asking
def chat(session: Session, asked: Asking) -> None:
    """Talk with the champion, or another version, in turns.

    A line is a turn; Ctrl-C stops an answer, Ctrl-D or /quit ends. Nothing of it is stored or trained on.
    """
    messages = opening(asked.system, asked.file)
    answerer = _load(session, asked)
    for line in _turns():
        messages.append(Message("user", line))
        try:
            answer = answerer.answer(messages, time.monotonic())
        except KeyboardInterrupt:
            click.echo("  (stopped)", err=True)
            # A question without an answer would leave two turns of the user in a row.
            messages.pop()
            continue
        messages.append(Message("assistant", answer))
        if session.as_json:
            session.show("", {"model": answerer.name, "answer": answer, "sampling": asdict(answerer.sampling)})


def _turns() -> Iterable[str]:
    """Lines of standard input, typed or piped, without the empty ones."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            text = line.strip()
            if text:
                yield text
        return
    import readline  # noqa: F401 - `input` edits and remembers lines with it

    while True:
        try:
            text = input("you> ").strip()
        except (EOFError, KeyboardInterrupt):
            # The cursor still stands behind the prompt.
            click.echo()
            return
        if text in END:
            return
        if text:
            yield text


def _load(session: Session, asked: Asking) -> Answerer:
    """Load the model, after a line that names its version and sampling."""
    # Read once, for the name and for the bytes: each reading verifies the whole chain.
    entries = session.loop.history()
    chosen = 0 if asked.base else asked.version
    if chosen is None:
        chosen = champion(entries)
    # Where the options decide, no store is opened.
    drawn, why = sampling(asked.flags, None if decides(asked.flags) else session.app.store)
    name = f"{session.app.settings.model.name}@{chosen}"
    # On standard error, so that standard output holds the answer alone.
    click.echo(click.style(f"{name}: {describe(drawn)} ({why})", dim=True), err=True)
    began = time.monotonic()
    model = session.app.model(entries, chosen)
    log.info("%s loaded in %.2f s", name, time.monotonic() - began)
    return Answerer(name, model, drawn, aloud=not session.as_json)
