from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from sqlalchemy import text
from sqlalchemy.exc import StatementError

from connectors.sql.bulk import FEW
from connectors.sql.database import open_database
from connectors.sql.store import SqlStore
from loop.errors import FencedError
from loop.ports import Batch, EventStore, Parsed, Partition, Store
from loop.types import DeadLetter, Event, Feedback, FeedbackKind, Interaction, Message
from tests import nouns
from tests.databases import DATABASES, fresh_url
from tests.stores import STORES, opened_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ZERO, ONE = Partition("events", 0), Partition("events", 1)
ANSWER = Interaction(
    interaction_id="i1",
    source="app",
    occurred_at=NOON,
    conversation_id="c1",
    messages=(Message("user", "How late is it?"),),
    response=Message("assistant", "Noon."),
    model="assistant@1",
)
THUMB = Feedback(
    feedback_id="f1", source="app", occurred_at=NOON, interaction_id="i1", kind=FeedbackKind.THUMB, value=1.0
)
LETTER = DeadLetter(letter_id="l1", source="events/0", position=7, reason="not JSON", payload=b"\xff\x00")
MANY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened_store(request.param, tmp_path) as opened:
        yield opened


def parsed(*events: Event, start: int = 0, end: int | None = None, partition: Partition = ZERO) -> Parsed:
    return Parsed(
        Batch(partition, start, start + len(events) if end is None else end, ()),
        tuple(event for event in events if isinstance(event, Interaction)),
        tuple(event for event in events if isinstance(event, Feedback)),
        tuple(event for event in events if isinstance(event, DeadLetter)),
    )


def ingest(store: EventStore, *events: Event) -> int:
    """After whatever was ingested before."""
    return store.ingest(parsed(*events, start=store.position(ZERO)))


def captured(store: EventStore) -> tuple[list[Interaction], list[Feedback], tuple[DeadLetter, ...]]:
    until = store.watermark()
    return list(store.interactions(until)), list(store.feedback(until)), store.dead_letters()


def test_an_empty_store_is_at_the_beginning(store: Store) -> None:
    assert store.position(ZERO) == 0
    assert store.watermark() == 0
    assert captured(store) == ([], [], ())
    assert set(store.counts().values()) == {0}


def test_ingest_keeps_every_kind_of_event_and_moves_the_offset(store: Store) -> None:
    assert ingest(store, ANSWER, THUMB, LETTER) == 3
    assert captured(store) == ([ANSWER], [THUMB], (LETTER,))
    assert store.position(ZERO) == 3
    assert store.position(ONE) == 0
    assert {table for table, rows in store.counts().items() if rows == 1} == {"interaction", "feedback", "dead_letter"}


def test_of_many_rows_with_one_id_the_first_is_kept(store: EventStore) -> None:
    many = [replace(ANSWER, interaction_id=f"i{n % FEW}", model=f"assistant@{n // FEW}") for n in range(2 * FEW)]
    assert ingest(store, *many) == FEW
    assert ingest(store, *many[FEW:]) == 0
    assert captured(store)[0] == many[:FEW]


def test_a_row_that_is_repeated_keeps_its_first_place(store: EventStore) -> None:
    many = [replace(ANSWER, interaction_id=f"i{n}") for n in range(FEW)]
    assert ingest(store, *many, many[0]) == FEW
    assert captured(store)[0] == many


def test_what_is_there_is_found_by_index_from_the_first_batch_on(tmp_path: Path) -> None:
    store = SqlStore(url := fresh_url("postgresql", tmp_path))
    for first in range(0, 30 * FEW, FEW):
        ingest(store, *(replace(THUMB, feedback_id=f"f{n}") for n in range(first, first + FEW)))
    store.close()
    engine = open_database(url, "store")
    with engine.connect() as connection:
        scans = text("SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'feedback'")
        whole, by_index = connection.execute(scans).one()
    engine.dispose()
    assert by_index >= 30
    assert whole <= 5  # those of the migrations


def test_events_seen_before_are_absorbed_within_a_batch_and_across_batches(store: EventStore) -> None:
    first = ingest(store, ANSWER, ANSWER, THUMB)
    again = ingest(store, replace(ANSWER, model="other@2"), THUMB, LETTER, LETTER)
    assert (first, again) == (2, 1)
    assert captured(store) == ([ANSWER], [THUMB], (LETTER,))


def test_the_same_id_from_another_source_is_another_event(store: EventStore) -> None:
    other = replace(ANSWER, source="batch")
    assert ingest(store, ANSWER, other) == 2
    assert captured(store)[0] == [ANSWER, other]


def test_an_interaction_and_a_feedback_may_share_an_id(store: EventStore) -> None:
    assert ingest(store, ANSWER, replace(THUMB, feedback_id="i1")) == 2


def test_a_zombie_is_fenced_and_writes_nothing(store: EventStore) -> None:
    store.ingest(parsed(ANSWER))
    with pytest.raises(FencedError):
        store.ingest(parsed(THUMB, LETTER))
    assert captured(store) == ([ANSWER], [], ())
    assert store.position(ZERO) == 1
    assert store.ingest(parsed(THUMB, start=1)) == 1


def test_a_reader_ahead_of_a_partition_never_read_is_fenced(store: EventStore) -> None:
    with pytest.raises(FencedError):
        store.ingest(parsed(ANSWER, start=5))
    assert store.position(ZERO) == 0


def test_offsets_may_jump_over_gaps_and_partitions_have_their_own(store: EventStore) -> None:
    store.ingest(parsed(ANSWER, start=0, end=10))
    store.ingest(parsed(THUMB, start=0, end=4, partition=ONE))
    assert (store.position(ZERO), store.position(ONE)) == (10, 4)


def test_one_watermark_bounds_interactions_and_feedback_alike(store: EventStore) -> None:
    ingest(store, *(replace(ANSWER, interaction_id=f"i{number}") for number in range(5)))
    watermark = store.watermark()
    before = captured(store)
    ingest(store, replace(ANSWER, interaction_id="late"), THUMB, LETTER)
    assert (list(store.interactions(watermark)), list(store.feedback(watermark))) == before[:2]
    assert len(list(store.interactions(store.watermark()))) == 6
    assert list(store.feedback(store.watermark())) == [THUMB]


def test_events_come_back_in_the_order_of_ingestion_not_of_time(store: EventStore) -> None:
    late = [replace(ANSWER, interaction_id=f"i{n}", occurred_at=NOON - timedelta(hours=n)) for n in range(2_500)]
    ingest(store, *late)
    assert list(store.interactions(store.watermark())) == late


def test_the_newest_interactions_come_newest_first(store: EventStore) -> None:
    events = [replace(ANSWER, interaction_id=f"i{n}", occurred_at=NOON - timedelta(hours=n)) for n in range(5)]
    ingest(store, *events)
    assert [each.interaction_id for each in store.newest_interactions(3)] == ["i4", "i3", "i2"]
    assert len(store.newest_interactions(9)) == 5


def test_a_time_of_another_zone_is_the_same_moment_in_utc(store: EventStore) -> None:
    ingest(store, replace(ANSWER, occurred_at=NOON.astimezone(timezone(timedelta(hours=5)))))
    (back,) = store.interactions(1)
    assert back.occurred_at == NOON


@pytest.mark.parametrize("database", DATABASES)
def test_times_come_back_aware(database: str, tmp_path: Path) -> None:
    store = SqlStore(fresh_url(database, tmp_path))
    ingest(store, ANSWER)
    (back,) = store.interactions(1)
    store.close()
    assert back.occurred_at.tzinfo is UTC


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("count", [1, FEW])
def test_a_time_without_a_zone_is_refused_however_many_there_are(database: str, count: int, tmp_path: Path) -> None:
    store = SqlStore(fresh_url(database, tmp_path))
    naive = replace(ANSWER, occurred_at=NOON.replace(tzinfo=None))
    with pytest.raises((ValueError, StatementError), match="no timezone"):
        ingest(store, *[naive] * count)
    store.close()


@MANY
@given(nouns.storable(nouns.interactions), nouns.storable(nouns.feedback), nouns.storable(nouns.dead_letters))
@pytest.mark.parametrize("before", [0, FEW])
def test_what_was_captured_comes_back_equal(
    store: EventStore, before: int, interaction: Interaction, feedback: Feedback, letter: DeadLetter
) -> None:
    turn = str(store.position(ZERO))
    company = [
        event
        for n in range(before)
        for event in (
            replace(ANSWER, interaction_id=f"{turn}-{n}"),
            replace(THUMB, feedback_id=f"{turn}-{n}"),
            replace(LETTER, letter_id=f"{turn}-{n}"),
        )
    ]
    events = replace(interaction, source=turn), replace(feedback, source=turn), replace(letter, letter_id=turn)
    assert ingest(store, *company, *events) == len(company) + 3
    interactions, feedbacks, letters = captured(store)
    assert (interactions[-1], feedbacks[-1], letters[-1]) == events
