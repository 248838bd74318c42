import gc
import sys
from contextlib import closing

import pytest

from loop.errors import FencedError, NotFoundError
from loop.intake.capture import MAX_FENCES, PORTION_BYTES, Captured, capture, parse, portions, steps
from loop.intake.events import dead_letter, decode, encode
from loop.ports import Batch, Entry, Parsed, Partition
from loop.testing import MemoryLog, MemoryStore
from tests.builders import interaction, thumb

ZERO, ONE = Partition("events", 0), Partition("events", 1)


class Contested(MemoryStore):
    """Another reader moves an offset at each of the `thefts` ingests to come."""

    def __init__(self, thefts: int) -> None:
        super().__init__()
        self.thefts = thefts
        self.fenced = 0

    def ingest(self, parsed: Parsed) -> int:
        if self.thefts:
            self.thefts -= 1
            self.offsets[parsed.batch.partition] = self.position(parsed.batch.partition) + 1
        try:
            return super().ingest(parsed)
        except FencedError:
            self.fenced += 1
            raise


@pytest.fixture
def log() -> MemoryLog:
    filled = MemoryLog(partitions=2)
    filled.append([encode(event) for number in range(20) for event in (interaction(number), thumb(number))])
    return filled


def test_parsing_sorts_events_by_kind_and_keeps_what_does_not_decode():
    payloads = [encode(interaction(1)).payload, b"{", encode(thumb(1)).payload]
    batch = Batch(ONE, 7, 10, tuple(Entry(7 + index, payload) for index, payload in enumerate(payloads)))
    parsed = parse(batch)
    assert (parsed.batch, parsed.interactions, parsed.feedback) == (batch, (interaction(1),), (thumb(1),))
    (letter,) = parsed.dead_letters
    assert (letter.source, letter.position, letter.payload) == ("events/1", 8, b"{")
    assert "JSON" in letter.reason


def test_a_dead_letter_sent_as_an_event_stays_the_letter_it_is():
    letter = dead_letter("chat.jsonl", 12, "no JSON", b"\x00\xff")
    parsed = parse(Batch(ZERO, 0, 1, (Entry(0, encode(letter).payload),)))
    assert parsed.dead_letters == (letter,)


@pytest.mark.parametrize("batch_size", [1, 3, 2000])
def test_everything_is_captured_once_whatever_the_batch_size(log, batch_size):
    store = MemoryStore()
    assert capture(log, store, batch_size=batch_size) == Captured(interactions=20, feedback=20, new_rows=40)
    assert len(store.ingested) == 40
    assert capture(log, store) == Captured()


def test_large_entries_are_stored_in_several_transactions_that_follow_each_other():
    half = b"x" * (PORTION_BYTES // 2)
    batch = Batch(ZERO, 3, 20, tuple(Entry(offset, half) for offset in (4, 5, 9, 12, 13)))
    pieces = list(portions(batch))
    assert [(piece.start, piece.next, len(piece.entries)) for piece in pieces] == [(3, 6, 2), (6, 13, 2), (13, 20, 1)]
    assert sum((piece.entries for piece in pieces), ()) == batch.entries


@pytest.mark.parametrize("entries", [(), (Entry(4, b"x" * (2 * PORTION_BYTES)),)])
def test_a_batch_that_cannot_be_divided_stays_whole(entries):
    batch = Batch(ZERO, 3, 20, entries)
    assert list(portions(batch)) == [batch]


def test_nothing_more_is_waited_for_while_a_batch_is_being_stored(log):
    waited = []

    class Waiting(MemoryLog):
        def poll(self, limit, *, wait=True):
            found = log.poll(limit)
            waited.append((bool(found), wait))
            return found

    reader = Waiting()
    reader.payloads, reader.stands_at = log.payloads, log.stands_at
    assert capture(reader, MemoryStore(), batch_size=40).new_rows == 40
    assert waited == [(True, True), (False, False)]


def test_the_interpreter_is_tuned_only_while_capture_runs(log):
    before = gc.get_threshold(), sys.getswitchinterval()
    with closing(steps(log, MemoryStore(), batch_size=5)) as rounds:
        next(rounds)
        assert (gc.get_threshold(), sys.getswitchinterval()) != before
        assert gc.get_freeze_count()
    assert (gc.get_threshold(), sys.getswitchinterval()) == before
    assert not gc.get_freeze_count()


def test_capture_goes_on_where_the_store_stands_not_where_the_log_does(log):
    store = MemoryStore()
    log.poll(11)
    assert capture(log, store).new_rows == 40


def test_an_event_sent_twice_is_read_twice_and_stored_once(log):
    log.append([encode(interaction(3))])
    assert capture(log, MemoryStore()) == Captured(interactions=21, feedback=20, new_rows=40)


def test_poison_does_not_stop_what_follows_it(log):
    log.payloads[ZERO].insert(0, b"\xff")
    log.payloads[ONE].insert(2, b"[" * 100_000)
    store = MemoryStore()
    assert capture(log, store) == Captured(interactions=20, feedback=20, dead_letters=2, new_rows=42)
    assert [(letter.source, letter.position) for letter in store.dead_letters()] == [("events/0", 0), ("events/1", 2)]


def test_poison_too_large_to_be_sent_on_is_stored_whole_and_sent_on_cut(log):
    log.payloads[ZERO].insert(0, b"\xff" * (2 << 20))
    store, letters = MemoryStore(), MemoryLog("letters")
    with closing(steps(log, store, batch_size=100, letters=letters)) as rounds:
        while next(rounds) is not None:
            pass
    (stored,) = store.dead_letters()
    assert stored.payload == b"\xff" * (2 << 20)
    (sent,) = (decode(payload) for payload in letters.payloads[Partition("letters", 0)])
    assert sent.payload == stored.payload[: len(sent.payload)] != b""
    assert (sent.letter_id, sent.position) == (stored.letter_id, 0)
    assert "of 2097152 bytes" in sent.reason


def test_a_topic_of_dead_letters_that_fails_stops_nothing(log, caplog):
    log.payloads[ZERO].insert(0, b"{poison")
    store = MemoryStore()
    with closing(steps(log, store, batch_size=100, letters=Refusing())) as rounds:
        while next(rounds) is not None:
            pass
    assert len(store.dead_letters()) == 1
    assert "1 dead letters are in the store alone: Kafka has no such topic" in caplog.text


class Refusing(MemoryLog):
    def append(self, _):
        raise NotFoundError("Kafka has no such topic", "make it")


def test_a_list_with_a_hundred_thousand_faults_is_refused_at_the_first():
    payload = encode(interaction(1)).payload
    hostile = payload.replace(b'"messages":[', b'"messages":[' + b"1," * 100_000)
    (letter,) = parse(Batch(ZERO, 0, 1, (Entry(0, hostile),))).dead_letters
    assert letter.reason == "data.messages[0]: Expected `object`, got `int`"


def test_a_fenced_partition_is_read_again_from_the_stored_position(log):
    store = Contested(thefts=2)
    captured = capture(log, store, batch_size=5)
    assert store.fenced == 2
    assert captured.new_rows == 40 - 2  # the other reader took the two it moved past
    assert store.offsets == {partition: len(entries) for partition, entries in log.payloads.items()}


def test_a_partition_that_was_given_away_is_left_to_its_new_reader(log):
    class Thief(MemoryStore):
        def ingest(self, parsed: Parsed) -> int:
            if parsed.batch.partition == ONE and ONE in log.payloads:
                self.offsets[ONE] = 999
                del log.payloads[ONE]
            return super().ingest(parsed)

    mine = len(log.payloads[ZERO])
    assert capture(log, Thief()).new_rows == mine


def test_a_reader_that_is_fenced_time_after_time_gives_up(log):
    store = Contested(thefts=1000)
    log.payloads[ZERO] *= 100
    with pytest.raises(FencedError):
        capture(log, store, batch_size=1)
    assert store.fenced == MAX_FENCES + 1
