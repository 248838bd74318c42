from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from loop.capture import MAX_FENCES, Captured, capture, parse
from loop.errors import FencedError, UnreachableError
from loop.events import dead_letter, encode
from loop.ports import Batch, Entry, Envelope, Parsed, Partition
from loop.types import DeadLetter, Feedback, FeedbackKind, Interaction, Message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ZERO, ONE = Partition("events", 0), Partition("events", 1)


class ListLog:
    """An event log of two partitions in memory; keys of odd length go to the second."""

    def __init__(self) -> None:
        self.entries: dict[Partition, list[bytes]] = {ZERO: [], ONE: []}
        self.stands_at = {ZERO: 0, ONE: 0}

    def append(self, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            self.entries[Partition("events", len(envelope.key) % 2)].append(envelope.payload)

    def partitions(self) -> tuple[Partition, ...]:
        return tuple(self.entries)

    def seek(self, partition: Partition, position: int) -> None:
        self.stands_at[partition] = position

    def poll(self, limit: int) -> tuple[Batch, ...]:
        batches = []
        for partition, payloads in self.entries.items():
            start = self.stands_at[partition]
            taken = payloads[start : start + limit]
            limit -= len(taken)
            if taken:
                self.stands_at[partition] = start + len(taken)
                entries = tuple(Entry(start + index, payload) for index, payload in enumerate(taken))
                batches.append(Batch(partition, start, start + len(taken), entries))
        return tuple(batches)


class SetStore:
    """What capture asks of a store; another reader moves an offset at each of the `thefts` ingests to come."""

    def __init__(self, thefts: int = 0) -> None:
        self.ids: list[tuple[str, str]] = []
        self.letters: list[DeadLetter] = []
        self.offsets: dict[Partition, int] = {}
        self.thefts = thefts
        self.fenced = 0

    def position(self, partition: Partition) -> int:
        return self.offsets.get(partition, 0)

    def ingest(self, parsed: Parsed) -> int:
        batch = parsed.batch
        if self.thefts:
            self.thefts -= 1
            self.offsets[batch.partition] = self.position(batch.partition) + 1
        if batch.start != self.position(batch.partition):
            self.fenced += 1
            raise FencedError("the offset moved", "read again")
        self.offsets[batch.partition] = batch.next
        keys = [(event.source, event.interaction_id) for event in parsed.interactions]
        keys += [(event.source, event.feedback_id) for event in parsed.feedback]
        new = [key for key in dict.fromkeys(keys) if key not in self.ids]
        self.ids += new
        self.letters += parsed.dead_letters
        return len(new) + len(parsed.dead_letters)


def interaction(number: int) -> Interaction:
    return Interaction(
        interaction_id=f"i{number}",
        source="app",
        occurred_at=NOON,
        conversation_id="c" * (number % 3 + 1),
        messages=(Message("user", "hi"),),
        response=Message("assistant", "hello"),
        model="assistant@1",
    )


def thumb(number: int) -> Feedback:
    return Feedback(
        feedback_id=f"f{number}",
        source="app",
        occurred_at=NOON,
        interaction_id=f"i{number}",
        kind=FeedbackKind.THUMB,
        value=1.0,
    )


@pytest.fixture
def log() -> ListLog:
    filled = ListLog()
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
    store = SetStore()
    assert capture(log, store, batch_size=batch_size) == Captured(interactions=20, feedback=20, new_rows=40)
    assert len(store.ids) == len(set(store.ids)) == 40
    assert capture(log, store) == Captured()


def test_capture_goes_on_where_the_store_stands_not_where_the_log_does(log):
    store = SetStore()
    log.poll(11)
    assert capture(log, store).new_rows == 40


def test_an_event_sent_twice_is_read_twice_and_stored_once(log):
    log.append([encode(interaction(3))])
    assert capture(log, SetStore()) == Captured(interactions=21, feedback=20, new_rows=40)


def test_poison_does_not_stop_what_follows_it(log):
    log.entries[ZERO].insert(0, b"\xff")
    log.entries[ONE].insert(2, b"[" * 100_000)
    store = SetStore()
    assert capture(log, store) == Captured(interactions=20, feedback=20, dead_letters=2, new_rows=42)
    assert [(letter.source, letter.position) for letter in store.letters] == [("events/0", 0), ("events/1", 2)]


def test_a_fenced_partition_is_read_again_from_the_stored_position(log):
    store = SetStore(thefts=2)
    captured = capture(log, store, batch_size=5)
    assert store.fenced == 2
    assert captured.new_rows == 40 - 2  # the other reader took the two it moved past
    assert store.offsets == {partition: len(entries) for partition, entries in log.entries.items()}


def test_a_partition_that_was_given_away_is_left_to_its_new_reader(log):
    class Rebalanced(ListLog):
        def seek(self, partition: Partition, position: int) -> None:
            if partition not in self.partitions():
                raise UnreachableError("not assigned", "none")
            super().seek(partition, position)

    class Thief(SetStore):
        def ingest(self, parsed: Parsed) -> int:
            if parsed.batch.partition == ONE and ONE in moving.entries:
                self.offsets[ONE] = 999
                del moving.entries[ONE]
            return super().ingest(parsed)

    moving = Rebalanced()
    moving.entries = log.entries
    mine = len(log.entries[ZERO])
    assert capture(moving, Thief()).new_rows == mine


def test_a_reader_that_is_fenced_time_after_time_gives_up(log):
    store = SetStore(thefts=1000)
    log.entries[ZERO] *= 100
    with pytest.raises(FencedError):
        capture(log, store, batch_size=1)
    assert store.fenced == MAX_FENCES + 1
