"""Metrics and health of a capture process over HTTP: /metrics for Prometheus, /healthz for a supervisor."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from itertools import chain
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_wsgi_app

from loop.errors import UsageError
from loop.intake.capture import Step
from loop.ports import Partition
from loop.types import Feedback, Interaction

KINDS = ("interactions", "feedback", "dead_letters")


class CaptureMetrics:
    """Metrics of capture, shown by `serve`; capture is unhealthy after `silent_seconds` without a round."""

    def __init__(self, silent_seconds: float = 120.0) -> None:
        self._silent_seconds = silent_seconds
        self.registry = CollectorRegistry()
        self._metrics = make_wsgi_app(self.registry)
        self.rows = self._counter("rows", "Events stored that were not there before.")
        self.entries = self._counter("entries", "Log entries read and settled.", "kind")
        # Prometheus sees an increase only from a value it has seen: each counter has to be there with 0 first.
        for kind in KINDS:
            self.entries.labels(kind)
        self.skipped = self._counter("skipped", "Offsets without an entry: markers, or taken by retention.")
        self.fences = self._counter("fences", "Batches that another process had stored first.")
        self.rebalances = self._counter("rebalances", "Changes of the partitions this process has.")
        self.batch_seconds = Histogram(
            "nightshift_capture_batch_seconds", "One transaction, retries included.", registry=self.registry
        )
        self.lag = self._gauge("lag", "Entries not stored yet; every process tells all partitions.", "partition")
        self.blind = self._gauge("blind_seconds", "Since log and store last told the lag; it stands still meanwhile.")
        self.held = self._gauge("partitions", "Partitions that this process has now.")
        self.watermark_age = self._gauge("watermark_age_seconds", "Age of the newest stored event not from the future.")
        self.silent = self._gauge("silent_seconds", "Since the last round of capture; what /healthz judges by.")
        self._newest: datetime | None = None
        self._partitions: frozenset[Partition] = frozenset()
        # Monotonic, as a clock that is set would make a healthy capture look silent. Ages are computed when they are
        # scraped, so that they go on growing in a process that hangs.
        self._round_at = self._seen_at = time.monotonic()
        self.watermark_age.set_function(self._age)
        self.silent.set_function(self._silence)
        self.blind.set_function(lambda: time.monotonic() - self._seen_at)

    def observe(self, step: Step | None, partitions: Iterable[Partition]) -> None:
        """Count one round of capture: its batch, and the partitions that the process has now."""
        self._round_at = time.monotonic()
        now = frozenset(partitions)
        if now != self._partitions:
            self.rebalances.inc()
            self.held.set(len(now))
            self._partitions = now
        if step is None:
            return
        self.batch_seconds.observe(step.seconds)
        # A fenced batch wrote nothing: its entries are counted by the process that stored them.
        if step.fenced:
            self.fences.inc()
            return
        parsed = step.parsed
        self.rows.inc(step.new_rows)
        self.skipped.inc(parsed.batch.next - parsed.batch.start - len(parsed.batch.entries))
        for kind in KINDS:
            self.entries.labels(kind).inc(len(getattr(parsed, kind)))
        events: Iterable[Interaction | Feedback] = chain(parsed.interactions, parsed.feedback)
        # A producer whose clock is ahead must not hide how old the newest real event is.
        past = [event.occurred_at for event in events if event.occurred_at <= datetime.now(UTC)]
        if self._newest:
            past.append(self._newest)
        self._newest = max(past, default=None)

    def behind(self, ends: Mapping[Partition, int], position: Callable[[Partition], int]) -> None:
        """Show how far the store is behind the log; `position` gives the store's offset of a partition."""
        for partition, end in ends.items():
            self.lag.labels(f"{partition.topic}/{partition.number}").set(end - position(partition))
        self._seen_at = time.monotonic()

    def serve(self, host: str, port: int) -> int:
        """Answer on `host:port` from a thread until the process ends; returns the port, chosen when it was 0.

        Raises UsageError when the port is taken.
        """
        try:
            server = make_server(host, port, self._answer, server_class=Threaded, handler_class=Quiet)
        # A port above 65535 is an OverflowError.
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"metrics cannot be shown on {host}:{port}: {error}", "choose another --metrics"
            ) from error
        Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        return server.server_port

    def _answer(self, environment: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        if environment["PATH_INFO"] != "/healthz":
            shown: Iterable[bytes] = self._metrics(environment, respond)
            return shown
        silent = self._silence()
        healthy = silent < self._silent_seconds
        respond("200 OK" if healthy else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [b"ok\n" if healthy else f"no round of capture for {silent:.0f} s\n".encode()]

    def _silence(self) -> float:
        return time.monotonic() - self._round_at

    def _age(self) -> float:
        return (datetime.now(UTC) - self._newest).total_seconds() if self._newest else float("nan")

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"nightshift_capture_{name}", meaning, labels, registry=self.registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"nightshift_capture_{name}", meaning, labels, registry=self.registry)


class Threaded(ThreadingMixIn, WSGIServer):
    """A server with a thread for each connection, so that an idle one does not keep the others waiting."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """A handler that does not log every scrape, and does not wait for one for ever."""

    timeout = 10

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002, ANN401 - the signature it overrides
        """Log nothing."""
