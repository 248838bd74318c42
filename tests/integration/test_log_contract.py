import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.table_log import TableLog
from loop.errors import NotFoundError
from loop.ports import Entry, Envelope, EventLog, Partition
from tests.databases import DATABASES, fresh_url
from tests.fakes import MemoryLog


@pytest.fixture(params=["memory", *DATABASES])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EventLog]:
    if request.param == "memory":
        yield MemoryLog()
        return
    opened = TableLog(fresh_url(request.param, tmp_path))
    yield opened
    opened.close()


def envelopes(*payloads: bytes) -> list[Envelope]:
    return [Envelope("key", payload) for payload in payloads]


def test_an_empty_log_has_one_partition_and_nothing_to_read(log: EventLog) -> None:
    assert log.partitions() == (Partition("events", 0),)
    log.append([])
    assert log.poll(10) == ()


def test_entries_come_back_in_order_from_offset_zero_without_gaps(log: EventLog) -> None:
    log.append(envelopes(b"a", b"\x00\xff"))
    log.append(envelopes(b"c"))
    (batch,) = log.poll(10)
    assert batch.partition == Partition("events", 0)
    assert (batch.start, batch.next) == (0, 3)
    assert batch.entries == (Entry(0, b"a"), Entry(1, b"\x00\xff"), Entry(2, b"c"))


def test_a_poll_goes_on_where_the_last_one_ended(log: EventLog) -> None:
    log.append(envelopes(b"a", b"b", b"c"))
    (first,), (second,) = log.poll(2), log.poll(2)
    assert (first.start, first.next, second.start, second.next) == (0, 2, 2, 3)
    assert log.poll(2) == ()
    log.append(envelopes(b"d"))
    (third,) = log.poll(2)
    assert (third.start, third.entries) == (3, (Entry(3, b"d"),))


def test_seek_goes_back_and_forth(log: EventLog) -> None:
    (partition,) = log.partitions()
    log.append(envelopes(b"a", b"b", b"c"))
    for position in (2, 0, 1):
        log.seek(partition, position)
        (batch,) = log.poll(1)
        assert (batch.start, batch.entries[0].offset) == (position, position)
    log.seek(partition, 3)
    assert log.poll(1) == ()


def test_a_partition_of_another_log_cannot_be_sought(log: EventLog) -> None:
    with pytest.raises(NotFoundError):
        log.seek(Partition("events", 1), 0)


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
