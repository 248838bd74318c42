"""One contract for every EventLog: in memory, on both databases, on Kafka."""

import threading
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from connectors.kafka.log import KafkaLog
from connectors.sql.log import POLL_BYTES, TableLog
from loop.errors import NotFoundError
from loop.ports import Batch, Entry, Envelope, EventLog, Partition
from loop.testing import MemoryLog
from tests import services
from tests.databases import DATABASES, fresh_url

PATIENCE_SECONDS = 30


@pytest.fixture(params=["memory", *DATABASES, "kafka"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    match request.param:
        case "memory":
            yield MemoryLog()
        case "kafka":
            opened: KafkaLog | TableLog = services.fresh_kafka_log(services.kafka(), partitions=1)
            yield opened
            opened.close()
        case database:
            opened = TableLog(fresh_url(database, tmp_path))
            yield opened
            opened.close()


def envelopes(*payloads: bytes) -> list[Envelope]:
    return [Envelope("key", payload) for payload in payloads]


def placed(log: EventLog, position: int = 0) -> Partition:
    """The one partition of `log`, once the reader has it, with its next poll at `position`."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not log.partitions():
        assert time.monotonic() < end, "no partition was assigned"
        log.poll(1)
    (partition,) = log.partitions()
    assert log.unplaced() == (partition,)
    log.seek(partition, position)
    assert log.unplaced() == ()
    return partition


def read(log: EventLog, count: int, limit: int = 100) -> list[Batch]:
    """Batches with at least `count` entries in all, each beginning where the one before ended."""
    batches: list[Batch] = []
    end = time.monotonic() + PATIENCE_SECONDS
    while sum(len(batch.entries) for batch in batches) < count:
        assert time.monotonic() < end, f"{count} entries did not come"
        batches += log.poll(limit)
    assert all(len(batch.entries) <= limit for batch in batches)
    assert all(before.next == after.start for before, after in pairwise(batches))
    return batches


def entries(batches: list[Batch]) -> list[Entry]:
    return [entry for batch in batches for entry in batch.entries]


def test_an_empty_log_has_one_partition_and_nothing_to_read(log: EventLog) -> None:
    partition = placed(log)
    log.append([])
    assert log.ends() == {partition: 0}
    assert log.poll(10) == ()


def test_entries_come_back_in_order_from_offset_zero_without_gaps(log: EventLog) -> None:
    partition = placed(log)
    log.append(envelopes(b"a", b"\x00\xff"))
    log.append(envelopes(b"c"))
    batches = read(log, 3)
    assert {batch.partition for batch in batches} == {partition}
    assert (batches[0].start, batches[-1].next) == (0, 3)
    assert entries(batches) == [Entry(0, b"a"), Entry(1, b"\x00\xff"), Entry(2, b"c")]
    assert log.ends() == {partition: 3}


def test_a_poll_goes_on_where_the_last_one_ended(log: EventLog) -> None:
    placed(log)
    log.append(envelopes(b"a", b"b", b"c"))
    assert [entry.payload for entry in entries(read(log, 3, limit=2))] == [b"a", b"b", b"c"]
    assert log.poll(2) == ()
    log.append(envelopes(b"d"))
    (batch,) = read(log, 1)
    assert (batch.start, batch.entries) == (3, (Entry(3, b"d"),))


def test_seek_goes_back_and_forth(log: EventLog) -> None:
    partition = placed(log)
    log.append(envelopes(b"a", b"b", b"c"))
    for position in (2, 0, 1):
        log.seek(partition, position)
        (batch,) = read(log, 1, limit=1)
        assert (batch.start, batch.entries[0].offset) == (position, position)
    log.seek(partition, 3)
    assert log.poll(1) == ()


def test_a_reader_that_waits_reads_on_afterwards(log: EventLog) -> None:
    partition = placed(log)
    log.append(envelopes(b"a"))
    log.wait(0.05)
    (batch,) = read(log, 1)
    log.acknowledge(partition, batch.next)
    assert entries([batch]) == [Entry(0, b"a")]


def test_a_poll_that_does_not_wait_returns_at_once_and_brings_what_is_here(log: EventLog) -> None:
    placed(log)
    log.poll(1)
    started = time.monotonic()
    assert log.poll(1, wait=False) == ()
    assert time.monotonic() - started < 0.4
    log.append(envelopes(b"a"))
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := log.poll(1, wait=False)):
        assert time.monotonic() < end, "the entry did not come"
    assert entries(list(found)) == [Entry(0, b"a")]


@pytest.mark.parametrize("database", DATABASES)
def test_large_entries_come_a_few_at_a_time(database: str, tmp_path: Path) -> None:
    log = TableLog(fresh_url(database, tmp_path))
    log.append(envelopes(*[b"x" * (POLL_BYTES // 2 - 1)] * 4))
    assert [len(batch.entries) for batch in read(log, 4)] == [3, 1]
    log.close()


def test_a_partition_of_another_log_cannot_be_sought(log: EventLog) -> None:
    with pytest.raises(NotFoundError):
        log.seek(Partition(f"other-{uuid.uuid4().hex}", 1), 0)


@pytest.mark.parametrize("database", DATABASES)
def test_topics_in_one_database_are_separate(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    one, other = TableLog(url, "one"), TableLog(url, "other")
    one.append(envelopes(b"a"))
    other.append(envelopes(b"b"))
    assert [batch.entries for batch in one.poll(9)] == [(Entry(0, b"a"),)]
    assert [batch.entries for batch in other.poll(9)] == [(Entry(0, b"b"),)]
    one.close()
    other.close()


@pytest.mark.parametrize("database", DATABASES)
def test_a_reader_that_polls_while_four_writers_append_sees_every_entry_once(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    log = TableLog(url)

    def write(writer: int) -> None:
        own = TableLog(url)
        for number in range(25):
            own.append(envelopes(f"{writer}/{number}a".encode(), f"{writer}/{number}b".encode()))
        own.close()

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in writers:
        thread.start()
    seen: list[Entry] = []
    while any(thread.is_alive() for thread in writers):
        seen += [entry for batch in log.poll(7) for entry in batch.entries]
    while batches := log.poll(100):
        seen += batches[0].entries
    log.close()
    assert [entry.offset for entry in seen] == list(range(200))
    assert {entry.payload for entry in seen} == {
        f"{w}/{n}{x}".encode() for w in range(4) for n in range(25) for x in "ab"
    }
