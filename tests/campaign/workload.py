"""What the campaign sends, and what has to be in the database afterwards."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import sqlalchemy
from sqlalchemy import func, select

from connectors.sql.store import COUNTER, DEAD_LETTER, INGEST, INTERACTION
from loop.intake.events import encode
from loop.ports import Envelope
from tests.builders import interaction

CONVERSATIONS = 997
TWICE = 0.05
"""Share of events that the producer sends a second time, later."""
POISON_EVERY = 1_000
LATER = 500


def envelopes(events: int, seed: int) -> Iterator[Envelope]:
    """Interactions numbered from 0, some twice, and between them what nobody can parse."""
    rng, again = random.Random(seed), []
    for number in range(events):
        envelope = encode(replace(interaction(number), conversation_id=f"c{number % CONVERSATIONS}"))
        yield envelope
        if rng.random() < TWICE:
            again.append(envelope)
        if len(again) > LATER:
            yield again.pop(0)
        if number % POISON_EVERY == 0:
            yield Envelope(f"poison-{number}", f"{{poison {number}".encode())
    yield from again


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures that decide: all but `rows` and `dead_letters` have to be 0."""

    rows: int
    lost: int
    duplicated: int
    """Rows more than once."""
    ingested_again: int
    """Entries that more than one transaction took, although UNIQUE hides it; below 0 where entries were passed over."""
    reordered: int
    """Rows that stand before an earlier one of their conversation."""
    dead_letters: int
    letters_wrong: int


def verdict(url: str, events: int, entries: int) -> Verdict:
    """Counts what `events` sent as `entries` of the log became. Every committed entry takes one ingestion sequence."""
    engine = sqlalchemy.create_engine(sqlalchemy.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.connect() as connection:
        stored = connection.execute(select(INTERACTION.c.interaction_id).order_by(INTERACTION.c.sequence)).scalars()
        numbers = [int(name.removeprefix("i")) for name in stored]
        watermark = connection.execute(select(COUNTER.c.last).where(COUNTER.c.name == INGEST)).scalar_one()
        letters = set(connection.execute(select(DEAD_LETTER.c.payload)).scalars())
        letter_rows = connection.execute(select(func.count()).select_from(DEAD_LETTER)).scalar_one()
    engine.dispose()
    newest: dict[int, int] = {}
    reordered = 0
    for number in numbers:
        conversation = number % CONVERSATIONS
        reordered += newest.get(conversation, -1) > number
        newest[conversation] = max(newest.get(conversation, -1), number)
    poison = {f"{{poison {number}".encode() for number in range(0, events, POISON_EVERY)}
    return Verdict(
        rows=len(numbers),
        lost=events - len(set(numbers)),
        duplicated=len(numbers) - len(set(numbers)),
        ingested_again=watermark - entries,
        reordered=reordered,
        dead_letters=letter_rows,
        letters_wrong=len(letters ^ poison) + letter_rows - len(letters),
    )
