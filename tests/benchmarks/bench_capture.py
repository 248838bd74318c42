"""Kafka to PostgreSQL and to SQLite: 1 KB events a second, beside two ceilings and the obvious ORM consumer.

A real broker and a real PostgreSQL on this machine; contestants take turns, figures are medians. The serial ceiling is
what one thread could reach that reads, then writes: 1 / (1 / sink + 1 / poll). Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import psutil

from connectors.kafka.log import KafkaLog
from connectors.kafka.topics import create
from connectors.sql.store import SqlStore
from loop.intake.capture import steps
from loop.intake.events import encode
from loop.settings import KafkaAccess, LogSettings
from loop.types import Interaction
from tests import databases, services
from tests.benchmarks.contestants import (
    BATCH,
    Bed,
    embedded,
    interactions,
    nightshift,
    orm,
    poll_and_json,
    sink_alone,
    two_processes,
)
from tests.benchmarks.versions import versions

Contestant = Callable[[Bed, Sequence[Interaction]], float]
CONTESTANTS: Sequence[Contestant] = (sink_alone, poll_and_json, nightshift, two_processes, embedded, orm)
ORM_SHARE = 10
"""The ORM consumer gets every tenth of the events: it is that slow."""
SHARES = (10, 50, 100)
"""Per cent of the events at which the memory is read."""


def filled_topic(access: KafkaAccess, count: int) -> LogSettings:
    """A new topic with `count` events in it."""
    settings = services.log_settings(services.kafka(), partitions=4)
    create(access, settings)
    log, coming = KafkaLog(access, settings), interactions(count)
    while chunk := [encode(event) for event in islice(coming, 10 * BATCH)]:
        log.append(chunk)
    log.close()
    return settings


def rates(access: KafkaAccess, count: int, rounds: int) -> Mapping[str, Mapping[str, float]]:
    """Median events a second by database and contestant."""
    settings, events = filled_topic(access, count), list(interactions(count))
    seen: dict[str, dict[str, list[float]]] = {name: {} for name in databases.DATABASES}
    for number in range(rounds):
        for database, measured in seen.items():
            for contestant in CONTESTANTS:
                chosen = events[: count // ORM_SHARE] if contestant is orm else events
                with tempfile.TemporaryDirectory() as folder:
                    bed = Bed(access, settings, databases.fresh_url(database, Path(folder)))
                    rate = len(chosen) / contestant(bed, chosen)
                measured.setdefault(contestant.__name__, []).append(rate)
                print(f"round {number + 1}/{rounds}  {database:10} {contestant.__name__:14} {rate:9,.0f} events/s")
    return {name: {who: statistics.median(all_) for who, all_ in each.items()} for name, each in seen.items()}


def ratios(median: Mapping[str, float]) -> dict[str, float]:
    """How capture stands to the ceilings and the peer."""
    sink, poll, ours = median["sink_alone"], median["poll_and_json"], median["nightshift"]
    return {
        "of_serial_ceiling": ours * (1 / sink + 1 / poll),
        "of_slower_ceiling": ours / min(sink, poll),
        "times_orm": ours / median["orm"],
        "two_processes": median["two_processes"] / ours,
    }


def resident_mib() -> float:
    """Of this process, now."""
    resident: int = psutil.Process().memory_info().rss
    return resident / 2**20


def memory(access: KafkaAccess, count: int) -> Mapping[str, float]:
    """Resident MiB of one capture process into PostgreSQL at shares of `count` events."""
    settings = filled_topic(access, count)
    folder = Path(tempfile.mkdtemp())
    log, store = KafkaLog(access, settings), SqlStore(databases.fresh_url("postgresql", folder))
    wanted, found, entries, started = list(SHARES), {}, 0, time.perf_counter()
    with closing(steps(log, store, batch_size=BATCH)) as rounds:
        for step in rounds:
            entries += len(step.parsed.batch.entries) if step else 0
            while wanted and entries >= count * wanted[0] / 100:
                found[f"{wanted.pop(0)}%"] = resident_mib()
                print(f"{entries:,} events, {time.perf_counter() - started:.0f} s, {resident_mib():.0f} MiB resident")
            if not wanted:
                break
    log.close()
    store.close()
    shutil.rmtree(folder)
    return found


def main() -> None:
    """Measure, print a line each, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", type=int, default=0, metavar="EVENTS", help="also the memory over so many events")
    chosen = parser.parse_args()
    access = KafkaAccess(services.kafka().servers)
    result: dict[str, object] = {"events": chosen.events, "rounds": chosen.rounds, "cores": os.cpu_count()}
    if chosen.memory:
        result["resident_mib"] = memory(access, chosen.memory)
    medians = rates(access, chosen.events, chosen.rounds) if chosen.rounds else {}
    for database, median in medians.items():
        shown = ratios(median)
        print(f"{database}: " + ", ".join(f"{name} {value:.2f}" for name, value in shown.items()))
        result[database] = {**median, **shown}
    used = versions("kafka-python", "msgspec", "psycopg", "pydantic", "sqlalchemy", "sqlmodel")
    print(json.dumps({**result, "python": platform.python_version(), **used}))


if __name__ == "__main__":
    main()
