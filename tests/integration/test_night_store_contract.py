import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from loop.errors import LeaseHeldError, NotFoundError
from loop.hashing import digest
from loop.ports import Leases, NightStore, Records, Store
from loop.types import Candidate, Decision, Evidence, Night, NightStatus, Outputs, Snapshot
from tests import nouns
from tests.stores import STORES, opened_store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with opened_store(request.param, tmp_path) as opened:
        yield opened


def night_of(night_id: str, started_at: datetime) -> Night:
    return Night(
        night_id=night_id,
        as_of=NOON,
        status=NightStatus.DONE,
        champion_version=0,
        outputs=Outputs(snapshot_id="s"),
        started_at=started_at,
    )


@MANY
@given(
    nouns.storable(nouns.nights),
    nouns.storable(nouns.snapshots),
    nouns.storable(nouns.candidates),
    nouns.storable(nouns.evidence),
    nouns.storable(nouns.decisions),
)
def test_what_stages_saved_comes_back_equal(
    store: NightStore, night: Night, snapshot: Snapshot, candidate: Candidate, evidence: Evidence, decision: Decision
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


def test_a_candidate_stays_as_it_was_saved_first_and_is_found_by_its_job(store: Records) -> None:
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


def test_nights_come_oldest_first(store: NightStore) -> None:
    for saved in (night_of("b", NOON), night_of("c", NOON + timedelta(days=1)), night_of("a", NOON)):
        store.save_night(saved)
    assert [saved.night_id for saved in store.nights()] == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["snapshot", "candidate", "evidence", "decision"])
def test_an_unknown_id_is_not_found(store: Records, kind: str) -> None:
    with pytest.raises(NotFoundError, match=f"no {kind} 'nothing'"):
        getattr(store, kind)("nothing")


def test_a_lease_excludes_a_second_holder_and_ends_with_its_block(store: Leases) -> None:
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
