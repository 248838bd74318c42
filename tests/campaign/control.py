"""The control: a capture that commits its offset a while after its rows, as auto-commit does. It has to be caught."""

import os
import signal
import sys
import time
from dataclasses import replace
from threading import Event

from connectors.kafka.log import KafkaLog
from connectors.sql.store import SqlStore
from loop import settings
from loop.errors import FencedError, NightshiftError, NotFoundError
from loop.intake.capture import parse
from loop.ports import Batch, Parsed, Partition

LATER_SECONDS = 0.2


def main() -> None:
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    session_seconds, batch_events = map(int, sys.argv[1:])
    chosen = settings.load()
    assert chosen.addresses.kafka
    log = KafkaLog(chosen.addresses.kafka, chosen.log, session_seconds=session_seconds)
    store = SqlStore(str(chosen.addresses.store_url))
    rows, placed = Partition("control-rows", os.getpid()), set[Partition]()
    while not stop.is_set():
        placed &= set(log.partitions())
        for partition in set(log.partitions()) - placed:
            try:
                log.seek(partition, store.position(partition))
                placed.add(partition)
            except NotFoundError:
                continue
        for batch in log.poll(batch_events):
            at = store.position(rows)
            store.ingest(replace(parse(batch), batch=Batch(rows, at, at + 1, ())))
            time.sleep(LATER_SECONDS)
            try:
                store.ingest(Parsed(batch, (), (), ()))
            except FencedError:
                placed.discard(batch.partition)


if __name__ == "__main__":
    try:
        main()
    except NightshiftError as error:
        sys.exit(str(error))
