"""What the stages of a night leave behind, as it is read by name and as it is stored."""

from dataclasses import fields, replace
from datetime import UTC, datetime

import pytest

from loop.types import Night, NightStatus, Outputs, Stage, Without
from loop.types.nights import OUTPUTS

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
STORED = {
    Stage.CAPTURE: "17",
    Stage.CURATE: "s",
    Stage.VALIDATE: "no docs",
    Stage.TRAIN: "c",
    Stage.REGISTER: "3",
    Stage.EVALUATE: "e",
    Stage.DECIDE: "d",
    Stage.PROMOTE: "not promoted",
    Stage.REPORT: "report.html",
}
"""A whole night as 0.1.0 stored it."""
READ = Outputs(
    watermark=17,
    snapshot_id="s",
    docs=Without.DOCS,
    candidate_id="c",
    version=3,
    evidence_id="e",
    decision_id="d",
    entry_hash=Without.PROMOTION,
    report="report.html",
)


def night(status: NightStatus, outputs: Outputs) -> Night:
    return Night(night_id="night-0001", as_of=NOON, status=status, champion_version=0, outputs=outputs, started_at=NOON)


def test_every_stage_has_its_output_in_the_order_of_the_night() -> None:
    assert list(OUTPUTS) == list(Stage)
    assert list(OUTPUTS.values()) == [field.name for field in fields(Outputs)]


def test_a_night_of_an_earlier_version_is_read_and_stored_as_it_was() -> None:
    assert Outputs.of_stages(STORED) == READ
    assert READ.by_stage() == STORED
    assert list(READ.by_stage()) == list(Stage)


def test_a_night_that_promoted_is_told_from_one_that_did_not() -> None:
    hashed = Outputs.of_stages({**STORED, Stage.PROMOTE: "a" * 64})
    assert (hashed.entry_hash, hashed.promoted) == ("a" * 64, True)
    assert not READ.promoted
    assert not Outputs().promoted


@pytest.mark.parametrize(
    ("status", "outputs", "stage"),
    [
        (NightStatus.RUNNING, Outputs(), Stage.CAPTURE),
        (NightStatus.RUNNING, Outputs(watermark=0), Stage.CURATE),
        (NightStatus.RUNNING, Outputs(watermark=0, snapshot_id="s", docs=Without.DOCS), Stage.TRAIN),
        (NightStatus.RUNNING, replace(READ, report=None), Stage.REPORT),
        (NightStatus.RUNNING, READ, None),
        (NightStatus.SKIPPED, Outputs(watermark=0), Stage.REPORT),
        (NightStatus.FAILED, Outputs(watermark=0, report="report.html"), None),
    ],
)
def test_a_night_goes_on_with_the_first_stage_that_has_not_finished(
    status: NightStatus, outputs: Outputs, stage: Stage | None
) -> None:
    assert night(status, outputs).next_stage is stage


def test_only_a_night_that_runs_ends_as_done() -> None:
    assert night(NightStatus.RUNNING, READ).ended().status is NightStatus.DONE
    assert night(NightStatus.SKIPPED, READ).ended().status is NightStatus.SKIPPED
