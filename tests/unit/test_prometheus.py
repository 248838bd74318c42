"""What capture shows of itself."""

import socket
import urllib.error
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from connectors.prometheus import CaptureMetrics
from loop.errors import UsageError
from loop.intake.capture import Step
from loop.ports import Batch, Entry, Parsed, Partition
from tests.builders import interaction

ZERO = Partition("events", 0)


def step(occurred_at: datetime, *, fenced: bool = False) -> Step:
    event = replace(interaction(1), occurred_at=occurred_at)
    return Step(parsed=Parsed(Batch(ZERO, 0, 1, (Entry(0, b""),)), (event,), (), ()), new_rows=1, fenced=fenced)


def value(metrics: CaptureMetrics, name: str) -> float | None:
    return metrics.registry.get_sample_value(f"nightshift_capture_{name}")


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz") as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_a_fenced_batch_counts_as_a_fence_and_not_as_rows():
    metrics = CaptureMetrics()
    metrics.observe(step(datetime.now(UTC), fenced=True), [ZERO])
    assert (value(metrics, "fences_total"), value(metrics, "rows_total")) == (1, 0)


def test_partitions_that_come_and_go_are_rebalances():
    metrics = CaptureMetrics()
    for held in ([ZERO], [ZERO], [ZERO, Partition("events", 1)], []):
        metrics.observe(None, held)
    assert (value(metrics, "rebalances_total"), value(metrics, "partitions")) == (3, 0)


def test_an_event_from_the_future_does_not_hide_how_old_the_newest_real_one_is():
    metrics, now = CaptureMetrics(), datetime.now(UTC)
    metrics.observe(step(now - timedelta(hours=1)), [ZERO])
    metrics.observe(step(now + timedelta(days=900)), [ZERO])
    assert value(metrics, "watermark_age_seconds") == pytest.approx(3600, abs=60)


@pytest.mark.parametrize(("silent_seconds", "status"), [(60.0, 200), (0.0, 503)])
def test_capture_is_healthy_until_it_is_silent_for_too_long(silent_seconds, status):
    assert health(CaptureMetrics(silent_seconds).serve("127.0.0.1", 0)) == status


def test_a_connection_that_says_nothing_does_not_keep_the_others_waiting():
    port = CaptureMetrics().serve("127.0.0.1", 0)
    with socket.create_connection(("127.0.0.1", port)):
        assert health(port) == 200


def test_offsets_without_entries_are_counted():
    metrics = CaptureMetrics()
    metrics.observe(Step(parsed=Parsed(Batch(ZERO, 3, 9, ()), (), (), ())), [ZERO])
    assert value(metrics, "skipped_total") == 6


def test_a_taken_port_is_a_usage_error():
    metrics = CaptureMetrics()
    with pytest.raises(UsageError, match="cannot be shown"):
        CaptureMetrics().serve("127.0.0.1", metrics.serve("127.0.0.1", 0))
