"""A short campaign: everything dies at random on real servers, and every event is there once (long: make campaign).

It runs in a process of its own: kafka-python leaves the sockets of connections that failed to the garbage collector.
"""

import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor

from tests.campaign.__main__ import Outcome, run

EVENTS = 20_000
HARMS: Mapping[str, int] = {"capture_killed": 6, "zombie": 1, "broker_killed": 1, "database_crashed": 1}


def campaign(*, control: bool) -> Outcome:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as own:
        return own.submit(run, EVENTS, HARMS, 1, control=control).result()


def test_every_event_is_stored_exactly_once_and_in_order_whatever_dies() -> None:
    outcome = campaign(control=False)
    assert outcome.faults == []
    assert (outcome.verdict.rows, outcome.verdict.dead_letters) == (EVENTS, EVENTS // 1_000)
    assert outcome.harms == HARMS


def test_the_same_campaign_catches_a_capture_that_commits_its_offsets_later() -> None:
    verdict = campaign(control=True).verdict
    assert verdict.lost or verdict.duplicated or verdict.ingested_again
