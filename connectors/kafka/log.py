"""The EventLog on Kafka: a consumer group that reads from where the store says.

Offsets are the store's business. Those committed to Kafka only show outsiders (dashboards, autoscalers) how far the
group is; nothing here reads them.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from functools import cached_property

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

from connectors.kafka.client import explained, opening
from connectors.kafka.sender import KafkaSender
from loop.errors import IntegrityError, NotFoundError, UnreachableError
from loop.intake.capture import require_reach
from loop.ports import Batch, Entry, Envelope, Partition
from loop.settings import KafkaAccess, LogSettings
from loop.settings.constants import SESSION_SECONDS

POLL_MS = 500
OFFSETS_MS = 5_000
"""Milliseconds to wait for an answer to where partitions begin or end."""
HEARTBEAT_MS = 1_000
"""Longest time between heartbeats.

A member learns by its heartbeat that the group divides its partitions anew, and the members who know already wait for
it.
"""
LOOK_POLLS, LOOK_SECONDS = 20, 10.0
"""Least number of polls, and least time, between two looks at the brokers."""

logger = logging.getLogger(__name__)


class KafkaLog:
    """`loop.ports.EventLog` on one topic; several processes with one group share its partitions."""

    def __init__(
        self,
        access: KafkaAccess,
        settings: LogSettings,
        *,
        topic: str | None = None,
        stuck_seconds: float = 60.0,
        session_seconds: int = SESSION_SECONDS,
    ) -> None:
        self._access = access
        self.settings = settings
        self._stuck_seconds = stuck_seconds
        self._session_seconds = session_seconds
        self._topic = topic or settings.topic
        self._sender = KafkaSender(access, self._topic)
        self._positions: dict[TopicPartition, int] = {}
        """Start of the next batch, for each partition that was sought."""
        self._since: dict[tuple[TopicPartition, int], float] = {}
        """Time at which a partition was first seen at its present position, while the brokers answered."""
        self._polls = 0
        self._look_at = 0.0

    def close(self) -> None:
        """Leave the group and close the connections."""
        self._reopen()
        self._sender.close()

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Append envelopes; all in-sync replicas have acknowledged them when it returns. Raises the first error."""
        self._sender.append(envelopes)

    def partitions(self) -> tuple[Partition, ...]:
        """The partitions that the group gives this process now; none before the first poll."""
        # Only if there is a consumer: to make one for this question would join the group.
        consumer = self.__dict__.get("_consumer")
        return tuple(sorted(map(_ours, consumer.assignment()))) if consumer else ()

    def unplaced(self) -> tuple[Partition, ...]:
        """The partitions that were assigned and have not been sought since."""
        return tuple(sorted(map(_ours, self._consumer.assignment() - self._positions.keys())))

    def ends(self) -> Mapping[Partition, int]:
        """The end of every partition of the topic now, whoever reads it."""
        with explained(self._access):
            numbers = self._consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise NotFoundError(f"Kafka has no topic {self._topic!r}", "nightshift topics create")
            ends = self._offsets(
                self._consumer.end_offsets, [TopicPartition(self._topic, number) for number in numbers]
            )
        return {_ours(partition): end for partition, end in ends.items()}

    def _offsets(
        self, ask: Callable[..., Mapping[TopicPartition, int]], partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """The offsets that the consumer's `end_offsets` or `beginning_offsets` give.

        Raises _LeaderlessError when a partition has no leader.
        """
        try:
            return ask(partitions, timeout_ms=OFFSETS_MS)
        # kafka-python leaves out partitions without a leader, and then does not find them in its own answer.
        except KeyError as error:
            remedy = "see that the brokers run (nightshift doctor)"
            raise _LeaderlessError(f"Kafka has no leader for {error} now", remedy) from error

    def seek(self, partition: Partition, position: int) -> None:
        """The next poll of `partition` starts at `position`.

        Raises NotFoundError when the partition is not assigned, IntegrityError when the topic ends before `position`.
        """
        wanted = TopicPartition(partition.topic, partition.number)
        if wanted not in self._consumer.assignment():
            raise NotFoundError(f"{partition} is not assigned to this reader", "read one of its partitions")
        with explained(self._access):
            end = self._offsets(self._consumer.end_offsets, [wanted])[wanted]
            begin = self._offsets(self._consumer.beginning_offsets, [wanted])[wanted]
        # At 0 the partition was never read: it may well be older than the store, and has lost nothing of ours.
        if 0 < position < begin:
            logger.warning(
                "%s: %d entries were deleted before they were stored (log.retention_days)", partition, begin - position
            )
        require_reach(partition, position, end)
        self._consumer.seek(wanted, position)
        self._positions[wanted] = position

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:
        """At most `limit` entries of the partitions that were sought.

        Empty when none came within POLL_MS, or, without `wait`, when none are here yet. A partition that only moved
        over entries that are not for readers (transaction markers) makes a batch without entries.
        """
        self._watch()
        try:
            with explained(self._access):
                found = self._consumer.poll(timeout_ms=POLL_MS if wait else 0, max_records=limit)
                batches = [self._batch(partition, records) for partition, records in found.items()]
                # A copy of the keys, as `_moved` drops positions.
                if not found:
                    batches = [self._moved(partition) for partition in tuple(self._positions)]
        except IntegrityError:
            # This consumer would try for ever to read again what it could not read.
            self._reopen()
            raise
        return tuple(batch for batch in batches if batch)

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Commit the offset for Kafka's own tools (lag, autoscaling), without waiting for an answer."""
        shown = TopicPartition(partition.topic, partition.number)
        # Nothing here reads these offsets, so brokers that are away are no fault of the batch that was stored.
        with suppress(UnreachableError), explained(self._access):
            if shown in self._consumer.assignment():
                self._consumer.commit_async({shown: OffsetAndMetadata(position, "", -1)})

    def wait(self, seconds: float) -> None:
        """Read nothing for `seconds`, and stay in the group meanwhile.

        Entries of partitions that are assigned just then are not kept: they come again when the partition is sought.
        """
        end = time.monotonic() + seconds
        with suppress(UnreachableError), explained(self._access):
            held = self._consumer.assignment()
            # Paused partitions bring nothing, and polling is what keeps this member in its group.
            self._consumer.pause(*held)
            try:
                self._consumer.poll(timeout_ms=int(seconds * 1000))
            finally:
                still_held = held & self._consumer.assignment()
                self._consumer.resume(*still_held)
        # The poll returns early when something comes, or at once when the brokers are away.
        time.sleep(max(0.0, end - time.monotonic()))

    def _batch(self, partition: TopicPartition, records: Sequence[ConsumerRecord]) -> Batch | None:
        start = self._positions.get(partition)
        # A partition that was just assigned; these records come again after its seek.
        if start is None:
            return None
        # The log ends earlier than it did, as a topic does that was made anew. Without its position the partition is
        # sought again, and the seek says so.
        if records[0].offset < start:
            del self._positions[partition]
            return None
        entries = tuple(Entry(record.offset, record.value or b"") for record in records)
        return self._advance(partition, entries[-1].offset + 1, entries)

    def _moved(self, partition: TopicPartition) -> Batch | None:
        position = self._consumer.position(partition, timeout_ms=POLL_MS)
        if position is None or position == self._positions[partition]:
            return None
        # The log ends earlier than it did, as in `_batch`.
        if position < self._positions[partition]:
            del self._positions[partition]
            return None
        return self._advance(partition, position, ())

    def _advance(self, partition: TopicPartition, position: int, entries: tuple[Entry, ...]) -> Batch:
        start = self._positions[partition]
        self._positions[partition] = position
        return Batch(_ours(partition), start, position, entries)

    def _watch(self) -> None:
        """Check about every LOOK_SECONDS that the brokers answer and that partitions with more to read move.

        A poll tells neither. Raises UnreachableError, at every poll until the brokers answer; joins the group again
        when a partition has stood still for `stuck_seconds`.
        """
        self._polls += 1
        now = time.monotonic()
        if self._polls < LOOK_POLLS or now < self._look_at:
            return
        held = dict(self._positions)
        ends: Mapping[TopicPartition, int] = {}
        # Empty unless the brokers answer below, so that their outage does not look like a stuck partition.
        seen, self._since = self._since, {}
        with suppress(_LeaderlessError), explained(self._access):
            # A process without partitions asks for any one: it too has to notice that the brokers are away.
            ends = self._offsets(self._consumer.end_offsets, list(held) or [TopicPartition(self._topic, 0)])
            self._since = {(p, at): seen.get((p, at), now) for p, at in held.items()}
        self._polls, self._look_at = 0, now + LOOK_SECONDS
        waiting = {p: now - since for (p, at), since in self._since.items() if at < ends.get(p, 0)}
        stuck = [p for p, seconds in waiting.items() if seconds >= self._stuck_seconds]
        # kafka-python #3131 left partitions stuck after a rebalance; a new consumer reads on.
        if stuck:
            logger.warning(
                "%s did not move for %.0f s although there is more; joining the group again", stuck, self._stuck_seconds
            )
            self._reopen()

    def _reopen(self) -> None:
        """Close the consumer; the next use of `_consumer` makes a new one, whose partitions have to be sought."""
        self._positions.clear()
        consumer = self.__dict__.pop("_consumer", None)
        if consumer:
            consumer.close(autocommit=False, timeout_ms=5_000)

    @cached_property
    def _consumer(self) -> KafkaConsumer:
        with opening(self._access) as settings:
            consumer = KafkaConsumer(
                group_id=self.settings.group,
                group_instance_id=self._access.member,
                # Members keep reading the partitions that stay with them while the others move.
                partition_assignment_strategy=[CooperativeStickyAssignor],
                # The store has the offsets; where retention took the stored one, the oldest entry left comes next.
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                session_timeout_ms=self._session_seconds * 1000,
                heartbeat_interval_ms=min(HEARTBEAT_MS, self._session_seconds * 200),
                max_partition_fetch_bytes=4 << 20,
                metrics_enabled=False,
                **settings,
            )
            consumer.subscribe([self._topic], listener=_Moves(self._positions))
            # If this member leads the group, it divides the partitions it knows: without asking first, none.
            consumer.partitions_for_topic(self._topic)
            return consumer


def _ours(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)


class _LeaderlessError(UnreachableError):
    """A partition has no leader; the others may be read."""


class _Moves(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python is untyped
    """A listener that takes the position from partitions that come or go, until they are sought."""

    def __init__(self, positions: MutableMapping[TopicPartition, int]) -> None:
        self._positions = positions

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for partition in assigned:
            self._positions.pop(partition, None)

    on_partitions_revoked = on_partitions_lost = on_partitions_assigned
