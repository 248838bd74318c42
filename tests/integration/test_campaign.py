"""A short campaign: everything dies at random on real servers, and every event is there once (long: make campaign)."""

from collections.abc import Mapping

from tests.campaign.__main__ import run

EVENTS = 20_000
HARMS: Mapping[str, int] = {"capture_killed": 6, "zombie": 1, "broker_killed": 1, "database_crashed": 1}


def test_every_event_is_stored_exactly_once_and_in_order_whatever_dies() -> None:
    outcome = run(EVENTS, HARMS, seed=1, control=False)
    assert outcome.faults == []
    assert (outcome.verdict.rows, outcome.verdict.dead_letters) == (EVENTS, EVENTS // 1_000)
    assert outcome.harms == HARMS


def test_the_same_campaign_catches_a_capture_that_commits_its_offsets_later() -> None:
    verdict = run(EVENTS, HARMS, seed=1, control=True).verdict
    assert verdict.lost or verdict.duplicated or verdict.ingested_again
