"""What a night makes of a champion that moved while it ran."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loop import settings
from loop.nights import nightly
from loop.nights.curate import curate_snapshot
from loop.nights.parts import Parts
from loop.nights.report import write_report
from loop.promotion import champion, promote
from loop.report import outcomes
from loop.testing import MemoryLedger, MemoryLog, MemoryRegistry, MemoryStore
from loop.types import Json, Night, NightStatus, Outputs, Stage, Validation, Verdict, Without
from tests.candidates import judged, make_candidate

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
        outputs=Outputs(version=1, decision_id=decision.decision_id),
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
    assert not outcomes.promoted(replace(night, outputs=outcome.outputs))


def parts_of(
    home: Path, store: MemoryStore, registry: MemoryRegistry, chosen: Mapping[str, Json] | None = None
) -> Parts:
    here = settings.Addresses(home=home)
    return Parts(
        log=MemoryLog(),
        store=store,
        ledger=MemoryLedger(),
        registry=registry,
        validator=lambda folder, *_: Validation(snapshot_id=folder.name, passed=False, failures=("no examples",)),
        settings=replace(settings.load(overrides=chosen), addresses=here),
        clock=lambda: NOON,
        progress=lambda *_: None,
    )


def running(outputs: Outputs) -> Night:
    return Night(
        night_id="night-0001",
        as_of=NOON,
        status=NightStatus.RUNNING,
        champion_version=0,
        outputs=outputs,
        started_at=NOON,
    )


def test_a_night_given_up_leaves_a_failed_run_that_says_why(tmp_path: Path):
    registry, store = MemoryRegistry(tmp_path / "registry"), MemoryStore()
    store.save_night(running(Outputs(watermark=0)))
    night = nightly.run(parts_of(tmp_path, store, registry), NOON, abandon="the disk was full")
    given_up, skipped = (registry.runs[night_id] for night_id in ("night-0001", "night-0002"))
    assert (given_up.title, given_up.failed) == ("night-0001 · FAILED", True)
    assert "abandoned: the disk was full" in given_up.note
    assert (night.status, skipped.title, skipped.failed) == (NightStatus.SKIPPED, "night-0002 · SKIPPED", False)
    assert "no examples" in skipped.note
    assert [kept.snapshot_id for kept, _ in skipped.snapshots] == [night.outputs.snapshot_id]
    assert [path.name for path, _ in skipped.artifacts] == ["report.html"]


@pytest.mark.parametrize(("began_with", "judged_by"), [({"validation.min_train_examples": 5}, 5), (None, 40)])
def test_a_night_ends_under_the_settings_that_it_began_with(tmp_path: Path, caplog, began_with, judged_by):
    """A night of an earlier version has none, and ends under those of now."""
    store, seen = MemoryStore(), []
    now = parts_of(tmp_path, store, MemoryRegistry(tmp_path / "registry"), {"validation.min_train_examples": 40})
    kept = settings.policy(settings.load(overrides=began_with)) if began_with else {}
    store.save_night(replace(running(Outputs(watermark=0)), settings=kept))

    def validator(folder: Path, bounds: settings.ValidationSettings, *_: object) -> Validation:
        seen.append(bounds.min_train_examples)
        return Validation(snapshot_id=folder.name, passed=False, failures=("no examples",))

    nightly.run(replace(now, validator=validator), NOON)
    assert seen == [judged_by]
    assert ("not with what was set since: validation.min_train_examples;" in caplog.text) is bool(began_with)


def test_a_night_keeps_the_settings_that_it_begins_with(tmp_path: Path):
    parts = parts_of(tmp_path, MemoryStore(), MemoryRegistry(tmp_path / "registry"), {"training.pair.type": "ipo"})
    assert nightly.run(parts, NOON).settings == settings.policy(parts.settings)


def test_a_promotion_that_was_forbidden_since_the_night_began_is_not_made(tmp_path: Path):
    began = replace(running(Outputs()), settings=settings.policy(settings.Settings()))
    now = parts_of(tmp_path, MemoryStore(), MemoryRegistry(tmp_path / "registry"), {"gate.promote": False})
    assert not nightly._as_it_began(now, began).settings.gate.promote


def test_a_night_that_writes_its_report_is_not_shown_as_running(tmp_path: Path):
    registry = MemoryRegistry(tmp_path / "registry")
    write_report(parts_of(tmp_path, MemoryStore(), registry), running(Outputs(entry_hash=Without.PROMOTION)))
    shown = registry.runs["night-0001"]
    assert shown.tags["status"] == "done"
    assert "`nightshift run` finishes it" not in shown.note
    page = (tmp_path / "nights" / "night-0001" / "report.html").read_text()
    assert "finishes it" not in page
    assert "Next: " in page


def test_that_too_few_users_can_judge_is_told_before_anything_is_trained(tmp_path: Path, caplog):
    parts = parts_of(tmp_path, MemoryStore(), MemoryRegistry(tmp_path / "registry"))
    curate_snapshot(parts, 0, NOON)
    assert "0 held-out users can judge" in caplog.text
    assert "asks for 8" in caplog.text


def test_every_so_many_nights_training_begins_at_the_base_model():
    nights = [
        Night(
            night_id=f"night-{number:04d}",
            as_of=NOON,
            status=NightStatus.RUNNING,
            champion_version=7,
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
        outputs=Outputs(entry_hash=Without.PROMOTION),
        verdict=Verdict.PROMOTE,
        started_at=NOON,
    )
    assert not outcomes.promoted(night)
    assert outcomes.promoted(replace(night, outputs=Outputs(entry_hash="hash")))
