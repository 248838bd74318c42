"""Capture is killed at random moments; the number of entries ever committed tells once from more than once.

Every committed ingest takes one sequence per entry, so the watermark equals the length of the log exactly when nothing
was ingested twice, even where UNIQUE hides it. The control commits its offset after the rows, as a consumer that
commits to the broker would: UNIQUE keeps its rows single, the watermark gives it away.
"""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from connectors.sql.log import TableLog
from connectors.sql.store import SqlStore
from loop.errors import FencedError
from loop.intake.capture import Captured, capture, parse
from loop.intake.events import encode
from loop.ports import Batch, Envelope, Parsed, Partition
from tests.builders import interaction, thumb
from tests.databases import DATABASES, fresh_url

FRESH, SENT_TWICE, BATCH = 400, 40, 20
ENTRIES = FRESH + SENT_TWICE + 1
"""What one round appends: fresh events, some of them a second time, and one entry nobody can parse."""
EVENTS_LOG, CONTROL_ROWS = Partition("events", 0), Partition("control-rows", 0)
KILLS, PATIENCE = 12, 60

processes = multiprocessing.get_context("fork")  # a child starts in milliseconds; no database is open when it does


@pytest.mark.parametrize("database", DATABASES)
def test_every_event_is_stored_exactly_once_though_capture_is_killed_again_and_again(
    database: str, tmp_path: Path
) -> None:
    url = fresh_url(database, tmp_path)
    store = SqlStore(url)
    rounds = kills = 0
    while kills < KILLS and rounds < PATIENCE:
        append(url, events(rounds * FRESH))
        rounds += 1
        kills += killed_midway(capture_all, url, store, end=rounds * ENTRIES)
    finish(capture_all, url, store)

    ids = [interaction.interaction_id for interaction in store.interactions(store.watermark())]
    counts, position, watermark = store.counts(), store.position(EVENTS_LOG), store.watermark()
    store.close()
    assert kills == KILLS
    assert ids == [f"i{number}" for number in range(0, rounds * FRESH, 2)]
    assert counts["feedback"] == rounds * FRESH // 2
    assert counts["dead_letter"] == rounds
    assert position == watermark == rounds * ENTRIES


def test_the_control_that_commits_its_offset_later_ingests_entries_again(tmp_path: Path) -> None:
    url = fresh_url("sqlite", tmp_path)
    store = SqlStore(url)
    rounds = again = 0
    while not again and rounds < PATIENCE:
        append(url, events(rounds * FRESH))
        rounds += 1
        killed_midway(capture_offset_later, url, store, end=rounds * ENTRIES)
        again = store.watermark() - store.position(EVENTS_LOG)
    finish(capture_offset_later, url, store)
    interactions = store.counts()["interaction"]
    store.close()
    assert again > 0
    assert interactions == rounds * FRESH // 2, "UNIQUE still hides it in the rows"


def test_a_zombie_with_an_old_position_is_fenced_and_reads_on_from_the_stored_one(tmp_path: Path) -> None:
    url = fresh_url("sqlite", tmp_path)
    store, zombie, log = SqlStore(url), TableLog(url), TableLog(url)
    log.append(events(0))
    (stale,) = zombie.poll(BATCH)
    capture(log, store, batch_size=BATCH)
    with pytest.raises(FencedError):
        store.ingest(parse(stale))
    again = capture(zombie, store, batch_size=BATCH)
    position, watermark = store.position(EVENTS_LOG), store.watermark()
    for opened in (store, zombie, log):
        opened.close()
    assert again == Captured()
    assert position == watermark == ENTRIES


def events(first: int) -> list[Envelope]:
    """Interactions with even numbers, a thumb for each with the odd ones; some sent twice, one unreadable."""
    fresh = [encode(interaction(n) if n % 2 == 0 else thumb(n, on=n - 1)) for n in range(first, first + FRESH)]
    return [*fresh, *fresh[:SENT_TWICE], Envelope("?", b"{not json")]


def append(url: str, envelopes: list[Envelope]) -> None:
    log = TableLog(url)
    log.append(envelopes)
    log.close()


def capture_all(url: str) -> None:
    """What production runs."""
    capture(TableLog(url), SqlStore(url), batch_size=BATCH)


def capture_offset_later(url: str) -> None:
    """Each batch in two transactions: its rows (under a partition of no meaning), then its offset."""
    log, store = TableLog(url), SqlStore(url)
    log.seek(EVENTS_LOG, store.position(EVENTS_LOG))
    while batches := log.poll(BATCH):
        for batch in batches:
            scratch = store.position(CONTROL_ROWS)
            store.ingest(replace(parse(batch), batch=Batch(CONTROL_ROWS, scratch, scratch + 1, ())))
            store.ingest(Parsed(batch, (), (), ()))


def killed_midway(target: Callable[[str], None], url: str, store: SqlStore, *, end: int) -> bool:
    """Start `target`, SIGKILL it at a random point of its way to `end`; whether it was still on its way."""
    begin = store.position(EVENTS_LOG)
    child = started(target, url, store)
    point = random.randrange(begin, end)
    while store.position(EVENTS_LOG) <= point and child.is_alive():
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.05))
    child.kill()
    child.join()
    return child.exitcode == -signal.SIGKILL and begin < store.position(EVENTS_LOG) < end


def finish(target: Callable[[str], None], url: str, store: SqlStore) -> None:
    child = started(target, url, store)
    child.join()
    assert child.exitcode == 0


def started(target: Callable[[str], None], url: str, store: SqlStore) -> BaseProcess:
    store.close()  # it opens again on its next use
    child = processes.Process(target=target, args=(url,))
    child.start()
    return child
