"""What a night makes of a champion that moved while it ran."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from loop import nightly, settings
from loop.promote import champion, promote
from loop.steps import Parts
from loop.types import Night, NightStatus, Stage, Verdict
from tests.fakes import MemoryLedger, MemoryLog, MemoryStore
from tests.memory_registry import MemoryRegistry, judged, make_candidate

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_a_champion_that_moved_meanwhile_ends_the_promotion_and_not_the_loop(tmp_path: Path):
    ledger, registry, store = MemoryLedger(), MemoryRegistry(tmp_path / "registry"), MemoryStore()
    for name in ("a", "b"):
        registry.register(make_candidate(tmp_path / name, name), tmp_path / name, {})
    decision = judged("a", champion=None, champion_version=0)
    store.save_decision(decision)
    parts = Parts(
        log=MemoryLog(),
        store=store,
        ledger=ledger,
        registry=registry,
        validator=lambda *_: None,
        settings=settings.Settings(),
        clock=lambda: NOON,
        progress=lambda *_: None,
    )
    night = Night(
        night_id="night-0001",
        as_of=NOON,
        status=NightStatus.RUNNING,
        champion_version=0,
        outputs={Stage.REGISTER: "1", Stage.DECIDE: decision.decision_id},
        verdict=Verdict.PROMOTE,
        started_at=NOON,
    )
    promote(
        ledger,
        registry,
        version=2,
        decision=None,
        model="assistant",
        actor="ann",
        reason="by hand",
        clock=lambda: NOON,
    )
    outcome = nightly.STAGES[Stage.PROMOTE](parts, night)
    assert champion(ledger.entries()) == 2
    assert "the champion is another one: version 2 serves since ann's promote" in outcome.reasons[0]
    assert not nightly.promoted(replace(night, outputs={**night.outputs, Stage.PROMOTE: outcome.output}))


def test_every_so_many_nights_training_begins_at_the_base_model():
    nights = [
        Night(
            night_id=f"night-{number:04d}",
            as_of=NOON,
            status=NightStatus.RUNNING,
            champion_version=7,
            outputs={},
            started_at=NOON,
        )
        for number in range(1, 7)
    ]
    assert [nightly.parent_version(night, 3) for night in nights] == [7, 7, 0, 7, 7, 0]
    assert {nightly.parent_version(night, 0) for night in nights} == {7}


def test_a_promotion_that_a_human_has_to_make_is_none_yet():
    night = Night(
        night_id="night-0001",
        as_of=NOON,
        status=NightStatus.DONE,
        champion_version=0,
        outputs={Stage.PROMOTE: nightly.NOT_PROMOTED},
        verdict=Verdict.PROMOTE,
        started_at=NOON,
    )
    assert not nightly.promoted(night)
    assert nightly.promoted(replace(night, outputs={Stage.PROMOTE: "hash"}))
