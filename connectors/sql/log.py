"""The embedded EventLog: a table in the store's database, so that nothing but a file is needed to start."""

import time
from collections.abc import Mapping, Sequence

from sqlalchemy import func, select

from connectors.sql.database import insert, open_database, reading, reserve, writing
from connectors.sql.tables import EventRow, table_of
from loop.errors import NotFoundError
from loop.ports import Batch, Entry, Envelope, Partition

EVENT = table_of(EventRow)
# An event has up to 1 MiB, so that a bound on their number alone would not bound the memory of a batch.
POLL_BYTES = 16 << 20
CHUNK = 100
"""Rows fetched at a time."""


class TableLog:
    """`loop.ports.EventLog` with one partition; offsets count from 0 without gaps, in the order of commits."""

    def __init__(self, url: str, topic: str = "events") -> None:
        self._engine = open_database(url, "store")
        self._partition = Partition(topic, 0)
        self._position, self._placed = 0, False

    def close(self) -> None:
        """Give the connections back."""
        self._engine.dispose()

    def append(self, envelopes: Sequence[Envelope]) -> None:
        """Append all envelopes or none; they are durable when it returns."""
        if not envelopes:
            return
        topic = self._partition.topic
        with writing(self._engine) as connection:
            # `reserve` counts from 1 and offsets from 0. Its lock is what keeps a reader from passing over a row that
            # commits late: on PostgreSQL the values of a SEQUENCE become visible out of order.
            first = reserve(connection, f"log/{topic}", len(envelopes)) - 1
            rows = [
                {"topic": topic, "offset": offset, "key": envelope.key, "payload": envelope.payload}
                for offset, envelope in enumerate(envelopes, start=first)
            ]
            connection.execute(insert(connection, EVENT), rows)

    def partitions(self) -> tuple[Partition, ...]:
        """The one partition."""
        return (self._partition,)

    def unplaced(self) -> tuple[Partition, ...]:
        """The one partition, until it is sought."""
        return () if self._placed else (self._partition,)

    def ends(self) -> Mapping[Partition, int]:
        """The offset that the next entry will get, which is also the number of entries."""
        with reading(self._engine) as connection:
            topic = self._partition.topic
            last = connection.execute(select(func.max(EVENT.c.offset)).where(EVENT.c.topic == topic)).scalar()
        return {self._partition: 0 if last is None else last + 1}

    def seek(self, partition: Partition, position: int) -> None:
        """The next poll starts at `position`. Raises NotFoundError for a partition of another log."""
        if partition != self._partition:
            raise NotFoundError(f"this log has no {partition}", f"read {self._partition}")
        self._position, self._placed = position, True

    def poll(self, limit: int, *, wait: bool = True) -> tuple[Batch, ...]:  # noqa: ARG002
        """At most `limit` entries, or POLL_BYTES, from where the last poll ended; empty when there are none."""
        start = self._position
        wanted = (
            select(EVENT.c.offset, EVENT.c.payload)
            .where(EVENT.c.topic == self._partition.topic, EVENT.c.offset >= start)
            .order_by(EVENT.c.offset)
            .limit(limit)
        )
        entries, size = [], 0
        with (
            reading(self._engine) as connection,
            connection.execute(wanted.execution_options(yield_per=CHUNK)) as found,
        ):
            for offset, payload in found:
                entries.append(Entry(offset, payload))
                size += len(payload)
                if size >= POLL_BYTES:
                    break
        if not entries:
            return ()
        self._position = entries[-1].offset + 1
        return (Batch(self._partition, start, self._position, tuple(entries)),)

    def acknowledge(self, partition: Partition, position: int) -> None:
        """Nothing to do: only the store keeps offsets."""

    def wait(self, seconds: float) -> None:
        """Sleep, as there are no partitions that could be lost meanwhile."""
        time.sleep(seconds)
