"""How a night's run is named, tagged and described in the registry."""

from dataclasses import replace
from datetime import UTC, datetime

from loop.report.run import run_note, run_tags, run_title
from loop.types import Night, NightStatus, Outputs, Verdict, Without

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PROMOTED = Night(
    night_id="night-0007",
    as_of=NOON,
    status=NightStatus.DONE,
    champion_version=4,
    outputs=Outputs(snapshot_id="s7", candidate_id="c7", version=5, decision_id="d7", entry_hash="hash"),
    verdict=Verdict.PROMOTE,
    started_at=NOON,
)
SKIPPED = replace(
    PROMOTED,
    status=NightStatus.SKIPPED,
    outputs=Outputs(snapshot_id="s7", candidate_id="c6"),
    verdict=None,
    reasons=("no new feedback since night-0006",),
)


def test_a_run_is_named_by_night_verdict_and_version() -> None:
    assert run_title(PROMOTED) == "night-0007 · PROMOTE · v5"
    assert run_title(SKIPPED) == "night-0007 · SKIPPED"


def test_a_candidate_that_was_not_promoted_does_not_look_as_if_it_served() -> None:
    waiting = replace(PROMOTED, outputs=replace(PROMOTED.outputs, entry_hash=Without.PROMOTION))
    assert run_title(waiting) == "night-0007 · PROMOTE, not promoted · v5"
    assert run_tags(waiting)["promoted"] == "no"


def test_a_run_is_found_by_what_the_night_made() -> None:
    assert run_tags(PROMOTED) == {
        "night_id": "night-0007",
        "as_of": "2026-01-02T12:00:00Z",
        "status": "done",
        "verdict": "PROMOTE",
        "promoted": "yes",
        "version": "5",
        "champion_before": "4",
        "snapshot_id": "s7",
        "candidate_id": "c7",
        "decision_id": "d7",
    }


def test_a_skipped_night_carries_no_tags_of_a_candidate_it_did_not_make() -> None:
    assert run_tags(SKIPPED).keys() == {"night_id", "as_of", "status", "promoted", "champion_before", "snapshot_id"}


def test_the_note_of_a_run_says_why_and_what_to_do_next() -> None:
    note = run_note(SKIPPED, None)
    assert note.startswith("night-0007: SKIPPED.")
    assert "- no new feedback since night-0006" in note
    assert "Next: nothing is lost" in note
