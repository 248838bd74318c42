from datetime import UTC, datetime

import pytest

from loop.errors import EventError
from loop.intake.events import dead_letter, encode, pseudonym
from loop.intake.wire import MAX_EVENT_BYTES
from loop.types import Interaction, Message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def interaction(text: str = "hello", at: datetime = NOON, **metadata: object) -> Interaction:
    return Interaction(
        interaction_id="i1",
        source="app",
        occurred_at=at,
        conversation_id="c1",
        messages=(Message("user", "hi"),),
        response=Message("assistant", text),
        model="assistant@3",
        metadata=metadata,
    )


def deep(levels: int) -> list[object]:
    nested: list[object] = []
    for _ in range(levels):
        nested = [nested]
    return nested


@pytest.mark.parametrize(
    "event",
    [
        interaction("x" * MAX_EVENT_BYTES),
        interaction("\ud800"),
        interaction("a\0b"),
        interaction(at=datetime(2026, 3, 1)),  # noqa: DTZ001 - the naive time is what is tested
        interaction(score=float("nan")),
        interaction(nested=deep(300)),
        interaction(nested=deep(100_000)),
        interaction(thing=object()),
    ],
    ids=["too large", "surrogate", "NUL", "naive time", "NaN", "deep", "very deep", "no JSON"],
)
def test_a_producer_is_told_what_the_log_would_refuse(event):
    with pytest.raises(EventError):
        encode(event)


def test_a_pseudonym_depends_on_the_secret_and_hides_the_user():
    key = pseudonym("secret", "ann@example.org")
    assert key == "566cb62df2491f370d510bc041f04093"
    assert len({key, pseudonym("other", "ann@example.org"), pseudonym("secret", "bob@example.org")}) == 3


def test_a_dead_letter_has_the_same_id_whenever_it_is_read():
    letter = dead_letter("a.jsonl", 3, "no JSON", b"{")
    assert letter.letter_id == dead_letter("a.jsonl", 3, "another reason", b"{").letter_id
    assert letter.letter_id != dead_letter("a.jsonl", 4, "no JSON", b"{").letter_id
