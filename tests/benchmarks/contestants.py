"""What the capture benchmark measures: 1 KB events, and the work of each contestant on them, in seconds."""

import json
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import JSON, Connection, insert
from sqlmodel import Session

from connectors.kafka.client import connection
from connectors.kafka.log import KafkaLog
from connectors.sql.columns import Nested
from connectors.sql.database import is_postgresql, json_text, open_database, writing
from connectors.sql.log import TableLog
from connectors.sql.rows import row_of
from connectors.sql.store import INTERACTION, SqlStore
from connectors.sql.tables import InteractionRow
from loop.intake.capture import capture
from loop.intake.events import decode, encode
from loop.settings import KafkaAccess, LogSettings
from loop.types import Interaction, Message

BATCH = 2_000
SETTLE_SECONDS = 5.0
"""For the last rounds of sharing in a group whose members have their partitions already."""
START = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = (
    "order",
    "refund",
    "parcel",
    "invoice",
    "account",
    "please",
    "where",
    "when",
    "late",
    "early",
    "street",
    "size",
)

processes = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Bed:
    """A filled topic, and an empty store for one contestant."""

    access: KafkaAccess
    settings: LogSettings
    url: str
    """Of the store."""


def interactions(count: int) -> Iterator[Interaction]:
    """Events of about 1 KB on the wire, four in a conversation."""
    for n in range(count):
        words = " ".join(WORDS[(n + place * place) % len(WORDS)] for place in range(108))
        yield Interaction(
            interaction_id=f"i{n}",
            source="bench",
            occurred_at=START + timedelta(seconds=n),
            conversation_id=f"c{n // 4}",
            messages=(Message("user", words[:400]),),
            response=Message("assistant", words[400:]),
            model="assistant@1",
            user_key=f"u{n % 997}",
        )


def sink_alone(bed: Bed, events: Sequence[Interaction]) -> float:
    """Ready rows into the empty table, a commit every BATCH: ceiling (a)."""
    engine = open_database(bed.url, "store")
    write = _copy if is_postgresql(engine.dialect) else _executemany
    rows = [row_of(event) | {"sequence": number} for number, event in enumerate(events)]
    if write is _copy:
        nested = [name for name, column in INTERACTION.c.items() if isinstance(column.type, Nested | JSON)]
        rows = [row | {name: json_text(row[name]) for name in nested if row[name] is not None} for row in rows]
    started = time.perf_counter()
    for first in range(0, len(rows), BATCH):
        with writing(engine) as transaction:
            write(transaction, rows[first : first + BATCH])
    elapsed = time.perf_counter() - started
    engine.dispose()
    return elapsed


def _copy(transaction: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    driver: Any = transaction.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY interaction ({', '.join(rows[0])}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(tuple(row.values()))


def _executemany(transaction: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    transaction.execute(insert(INTERACTION), rows)


def poll_and_json(bed: Bed, events: Sequence[Interaction]) -> float:
    """kafka-python's poll and the standard library's json, nothing stored: ceiling (b)."""
    consumer = _reader(bed)
    started, left = time.perf_counter(), len(events)
    while left:
        for records in consumer.poll(timeout_ms=500, max_records=BATCH).values():
            for record in records:
                json.loads(record.value)
            left -= len(records)
    elapsed = time.perf_counter() - started
    consumer.close()
    return elapsed


def orm(bed: Bed, events: Sequence[Interaction]) -> float:
    """The obvious consumer (c): one SQLModel object an event, `session.merge`, a commit every BATCH."""
    consumer, engine = _reader(bed), open_database(bed.url, "store")
    started = time.perf_counter()
    with Session(engine) as session:
        for sequence, record in zip(range(1, len(events) + 1), consumer, strict=False):
            fields = row_of(decode(record.value))
            session.merge(InteractionRow(sequence=sequence, metadata_=fields.pop("metadata"), **fields))
            if sequence % BATCH == 0:
                session.commit()
        session.commit()
    elapsed = time.perf_counter() - started
    consumer.close()
    engine.dispose()
    return elapsed


def nightshift(bed: Bed, _: Sequence[Interaction]) -> float:
    """Capture in one process."""
    return _captured(bed, 1)


def two_processes(bed: Bed, _: Sequence[Interaction]) -> float:
    """Capture in two processes of one group."""
    return _captured(bed, 2)


def embedded(bed: Bed, events: Sequence[Interaction]) -> float:
    """Capture from the embedded log in the same database, in one process."""
    log, store = TableLog(bed.url), SqlStore(bed.url)
    log.append([encode(event) for event in events])
    started = time.perf_counter()
    capture(log, store, batch_size=BATCH)
    elapsed = time.perf_counter() - started
    log.close()
    store.close()
    return elapsed


def _captured(bed: Bed, count: int) -> float:
    """From the moment all have their partitions to the end of the last one."""
    SqlStore(bed.url).close()
    barrier = processes.Barrier(count + 1)
    each = bed.settings.partitions // count
    workers = [processes.Process(target=_worker, args=(bed, each, barrier)) for _ in range(count)]
    for worker in workers:
        worker.start()
    barrier.wait(120)
    started = time.perf_counter()
    for worker in workers:
        worker.join()
    elapsed = time.perf_counter() - started
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("a capture process failed; its traceback is above")
    return elapsed


def _worker(bed: Bed, partitions: int, barrier: Barrier) -> None:
    log, store = KafkaLog(bed.access, bed.settings), SqlStore(bed.url)
    while len(log.partitions()) != partitions:
        log.wait(1.0)
    log.wait(SETTLE_SECONDS)
    barrier.wait(120)
    capture(log, store, batch_size=BATCH)
    log.close()
    store.close()


def _reader(bed: Bed) -> KafkaConsumer:
    """A consumer of the whole topic, without a group."""
    consumer = KafkaConsumer(auto_offset_reset="earliest", enable_auto_commit=False, **connection(bed.access))
    consumer.assign([TopicPartition(bed.settings.topic, number) for number in range(bed.settings.partitions)])
    consumer.poll(timeout_ms=0)
    return consumer
