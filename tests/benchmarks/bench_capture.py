"""Embedded capture: events a second from log to SQLite, beside decoding alone and the obvious ORM consumer.

Prints a line per contestant, then one JSON object. `python tests/benchmarks/bench_capture.py [EVENTS]`
"""

import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from sqlmodel import Session

from connectors.database import open_database
from connectors.rows import row_of
from connectors.sql_store import SqlStore
from connectors.table_log import TableLog
from connectors.tables import InteractionRow
from loop.capture import capture
from loop.events import decode, encode
from loop.types import Interaction, Message

ROUNDS = 3
BATCH = 2_000


def interactions(count: int) -> list[Interaction]:
    """Events of about 1 KB."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Interaction(
            interaction_id=f"i{n}",
            source="bench",
            occurred_at=start + timedelta(seconds=n),
            conversation_id=f"c{n // 4}",
            messages=(Message("user", "x" * 400),),
            response=Message("assistant", "y" * 300),
            model="assistant@1",
            user_key=f"u{n % 997}",
        )
        for n in range(count)
    ]


def filled_log(folder: Path, events: list[Interaction]) -> str:
    """The address of a new database whose log holds `events`."""
    url = f"sqlite:///{folder}/store.db"
    log = TableLog(url)
    log.append([encode(event) for event in events])
    log.close()
    return url


def nightshift(url: str) -> None:
    store = SqlStore(url)
    capture(TableLog(url), store, batch_size=BATCH)
    store.close()


def payloads(url: str) -> list[bytes]:
    log = TableLog(url)
    found: list[bytes] = []
    while batches := log.poll(BATCH):
        found += [entry.payload for batch in batches for entry in batch.entries]
    log.close()
    return found


def decoding_alone(url: str) -> None:
    for payload in payloads(url):
        decode(payload)


def orm(url: str) -> None:
    """One SQLModel object an event, `session.merge`, a commit every BATCH: no offset, no dead letters."""
    with Session(open_database(url, "store")) as session:
        for sequence, payload in enumerate(payloads(url)):
            fields = row_of(decode(payload))
            session.merge(InteractionRow(sequence=sequence, metadata_=fields.pop("metadata"), **fields))
            if sequence % BATCH == BATCH - 1:
                session.commit()
        session.commit()


CONTESTANTS: dict[str, Callable[[str], None]] = {"nightshift": nightshift, "decoding alone": decoding_alone, "orm": orm}


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    events = interactions(count)
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    for _ in range(ROUNDS):
        for name, contestant in CONTESTANTS.items():
            with tempfile.TemporaryDirectory() as folder:
                url = filled_log(Path(folder), events)
                started = time.perf_counter()
                contestant(url)
                rates[name].append(count / (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, rate in medians.items():
        print(f"{name:16} {rate:9,.0f} events/s  {rate / medians['orm']:5.1f} x orm")
    versions = {name: version(name) for name in ("sqlmodel", "sqlalchemy", "pydantic")}
    print(json.dumps({"events": count, "median": medians, "python": platform.python_version(), **versions}))


if __name__ == "__main__":
    main()
