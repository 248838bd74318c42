import os
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
from loop.canonical import digest
from loop.errors import FencedError, LeaseHeldError, NotFoundError
from loop.ports import Batch, Parsed, Partition, Store
from loop.testing import MemoryStore
from loop.types import (
    Candidate,
    DeadLetter,
    Decision,
    Event,
    Evidence,
    Feedback,
    FeedbackKind,
    Interaction,
    Message,
    Night,
    NightStatus,
    Snapshot,
    Stage,
)
from tests import nouns
from tests.databases import DATABASES, fresh_url

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


@pytest.fixture(params=["memory", *DATABASES])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    opened = SqlStore(fresh_url(request.param, tmp_path))
    yield opened
    opened.close()


def parsed(*events: Event, start: int = 0, end: int | None = None, partition: Partition = ZERO) -> Parsed:
    return Parsed(
        Batch(partition, start, start + len(events) if end is None else end, ()),
        tuple(event for event in events if isinstance(event, Interaction)),
        tuple(event for event in events if isinstance(event, Feedback)),
        tuple(event for event in events if isinstance(event, DeadLetter)),
    )


def ingest(store: Store, *events: Event) -> int:
    """After whatever was ingested before."""
    return store.ingest(parsed(*events, start=store.position(ZERO)))


def night_of(night_id: str, started_at: datetime) -> Night:
    return Night(
        night_id=night_id,
        as_of=NOON,
        status=NightStatus.DONE,
        champion_version=0,
        outputs={Stage.CURATE: "s"},
        started_at=started_at,
    )


def captured(store: Store) -> tuple[list[Interaction], list[Feedback], tuple[DeadLetter, ...]]:
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


def test_of_many_rows_with_one_id_the_first_is_kept(store: Store) -> None:
    many = [replace(ANSWER, interaction_id=f"i{n % FEW}", model=f"assistant@{n // FEW}") for n in range(2 * FEW)]
    assert ingest(store, *many) == FEW
    assert ingest(store, *many[FEW:]) == 0
    assert captured(store)[0] == many[:FEW]


def test_a_row_that_is_repeated_keeps_its_first_place(store: Store) -> None:
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


def test_events_seen_before_are_absorbed_within_a_batch_and_across_batches(store: Store) -> None:
    first = ingest(store, ANSWER, ANSWER, THUMB)
    again = ingest(store, replace(ANSWER, model="other@2"), THUMB, LETTER, LETTER)
    assert (first, again) == (2, 1)
    assert captured(store) == ([ANSWER], [THUMB], (LETTER,))


def test_the_same_id_from_another_source_is_another_event(store: Store) -> None:
    other = replace(ANSWER, source="batch")
    assert ingest(store, ANSWER, other) == 2
    assert captured(store)[0] == [ANSWER, other]


def test_an_interaction_and_a_feedback_may_share_an_id(store: Store) -> None:
    assert ingest(store, ANSWER, replace(THUMB, feedback_id="i1")) == 2


def test_a_zombie_is_fenced_and_writes_nothing(store: Store) -> None:
    store.ingest(parsed(ANSWER))
    with pytest.raises(FencedError):
        store.ingest(parsed(THUMB, LETTER))
    assert captured(store) == ([ANSWER], [], ())
    assert store.position(ZERO) == 1
    assert store.ingest(parsed(THUMB, start=1)) == 1


def test_a_reader_ahead_of_a_partition_never_read_is_fenced(store: Store) -> None:
    with pytest.raises(FencedError):
        store.ingest(parsed(ANSWER, start=5))
    assert store.position(ZERO) == 0


def test_offsets_may_jump_over_gaps_and_partitions_have_their_own(store: Store) -> None:
    store.ingest(parsed(ANSWER, start=0, end=10))
    store.ingest(parsed(THUMB, start=0, end=4, partition=ONE))
    assert (store.position(ZERO), store.position(ONE)) == (10, 4)


def test_one_watermark_bounds_interactions_and_feedback_alike(store: Store) -> None:
    ingest(store, *(replace(ANSWER, interaction_id=f"i{number}") for number in range(5)))
    watermark = store.watermark()
    before = captured(store)
    ingest(store, replace(ANSWER, interaction_id="late"), THUMB, LETTER)
    assert (list(store.interactions(watermark)), list(store.feedback(watermark))) == before[:2]
    assert len(list(store.interactions(store.watermark()))) == 6
    assert list(store.feedback(store.watermark())) == [THUMB]


def test_events_come_back_in_the_order_of_ingestion_not_of_time(store: Store) -> None:
    late = [replace(ANSWER, interaction_id=f"i{n}", occurred_at=NOON - timedelta(hours=n)) for n in range(2_500)]
    ingest(store, *late)
    assert list(store.interactions(store.watermark())) == late


def test_the_newest_interactions_come_newest_first(store: Store) -> None:
    events = [replace(ANSWER, interaction_id=f"i{n}", occurred_at=NOON - timedelta(hours=n)) for n in range(5)]
    ingest(store, *events)
    assert [each.interaction_id for each in store.newest_interactions(3)] == ["i4", "i3", "i2"]
    assert len(store.newest_interactions(9)) == 5


def test_a_time_of_another_zone_is_the_same_moment_in_utc(store: Store) -> None:
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
    store: Store, before: int, interaction: Interaction, feedback: Feedback, letter: DeadLetter
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


@MANY
@given(
    nouns.storable(nouns.nights),
    nouns.storable(nouns.snapshots),
    nouns.storable(nouns.candidates),
    nouns.storable(nouns.evidence),
    nouns.storable(nouns.decisions),
)
def test_what_stages_saved_comes_back_equal(
    store: Store, night: Night, snapshot: Snapshot, candidate: Candidate, evidence: Evidence, decision: Decision
) -> None:
    store.save_night(night)
    store.save_snapshot(snapshot)
    candidate = replace(candidate, candidate_id=digest(repr(candidate)))
    store.save_candidate(candidate)
    store.save_evidence(evidence)
    store.save_decision(decision)
    assert night in store.nights()
    assert store.snapshot(snapshot.snapshot_id) == snapshot
    assert store.candidate(candidate.candidate_id) == candidate
    assert store.evidence(evidence.evidence_id) == evidence
    assert store.decision(decision.decision_id) == decision


def test_a_candidate_stays_as_it_was_saved_first_and_is_found_by_its_job(store: Store) -> None:
    first = Candidate(
        candidate_id="c",
        job_id="first",
        snapshot_id="s",
        parent_version=0,
        adapter_sha256="c" * 64,
        parent_sha256=None,
        base_fingerprint="b",
        settings={},
        metrics={},
    )
    store.save_candidate(first)
    store.save_candidate(replace(first, job_id="second"))
    assert store.candidate("c") == first
    assert store.candidates_of("first") == (first,)
    assert store.candidates_of("second") == ()


def test_saving_again_replaces(store: Store) -> None:
    snapshot = Snapshot(snapshot_id="s", as_of=NOON, counts={"train/pair": 1}, curation={})
    store.save_snapshot(snapshot)
    store.save_snapshot(replace(snapshot, counts={"train/pair": 2}))
    assert store.snapshot("s").counts == {"train/pair": 2}
    assert store.counts()["snapshot"] == 1


def test_nights_come_oldest_first(store: Store) -> None:
    for saved in (night_of("b", NOON), night_of("c", NOON + timedelta(days=1)), night_of("a", NOON)):
        store.save_night(saved)
    assert [saved.night_id for saved in store.nights()] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["snapshot", "candidate", "evidence", "decision"])
def test_an_unknown_id_is_not_found(store: Store, kind: str) -> None:
    with pytest.raises(NotFoundError, match=f"no {kind} 'nothing'"):
        getattr(store, kind)("nothing")


def test_a_lease_excludes_a_second_holder_and_ends_with_its_block(store: Store) -> None:
    with store.lease("night", 60):
        with pytest.raises(LeaseHeldError, match="held by"), store.lease("night", 60):
            pass
        with store.lease("another", 60):
            pass
        with pytest.raises(LeaseHeldError), store.lease("night", 60):
            pass
    with store.lease("night", 60):
        holder = store.holder("night")
        assert holder is not None
        assert (holder.process_id, holder.alive) == (os.getpid(), True)
        assert store.holder("another") is None
    assert store.holder("night") is None
    with pytest.raises(ZeroDivisionError), store.lease("night", 60):
        raise ZeroDivisionError
    with store.lease("night", 60):
        pass


def test_the_database_and_this_machine_have_one_clock(store: Store) -> None:
    assert abs(datetime.now(UTC) - store.clock()) < timedelta(seconds=5)
