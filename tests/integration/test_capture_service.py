"""`nightshift capture` as a service: what it stores, shows and says while it follows a real Kafka, and how it ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connectors.kafka.log import KafkaLog
from connectors.kafka.topics import DEAD_LETTERS, create
from connectors.sql.store import SqlStore
from loop.intake.capture import capture
from loop.intake.events import encode
from loop.ports import Envelope
from loop.settings import KafkaAccess, LogSettings
from loop.testing import MemoryStore
from loop.types import DeadLetter
from tests import services
from tests.builders import interaction, thumb
from tests.capturing import Follower, await_that, follow
from tests.databases import DATABASES, fresh_url

Following = Callable[[str], Follower]
KINDS = ("interactions", "feedback", "dead_letters")


@pytest.fixture
def access() -> KafkaAccess:
    return KafkaAccess(services.kafka().servers)


@pytest.fixture
def settings(access: KafkaAccess) -> LogSettings:
    chosen = services.log_settings(services.kafka(), partitions=4)
    create(access, chosen)
    return chosen


@pytest.fixture
def log(access: KafkaAccess, settings: LogSettings) -> Iterator[KafkaLog]:
    opened = KafkaLog(access, settings)
    yield opened
    opened.close()


@pytest.fixture
def following(access: KafkaAccess, settings: LogSettings, tmp_path: Path) -> Iterator[Following]:
    """Starts captures of the topic into a store."""
    started: list[Follower] = []

    def start(store_url: str) -> Follower:
        named = {"NIGHTSHIFT_KAFKA_SERVERS": ",".join(access.servers), "NIGHTSHIFT_STORE_URL": store_url}
        chosen = (f"log.topic={settings.topic}", f"log.group={settings.group}")
        started.append(follow(tmp_path, named, *chosen, number=len(started)))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.mark.parametrize("database", DATABASES)
def test_what_arrives_is_stored_counted_and_shown(
    database: str, tmp_path: Path, log: KafkaLog, access: KafkaAccess, settings: LogSettings, following: Following
) -> None:
    url = fresh_url(database, tmp_path)
    store = SqlStore(url)
    service = following(url)
    log.append([encode(interaction(number)) for number in range(300)])
    log.append([encode(thumb(number)) for number in range(100)])
    log.append([Envelope("k", b"{poison"), encode(interaction(7))])
    await_that(lambda: store.watermark() == 402, service.said)
    await_that(lambda: service.metric("nightshift_capture_rows_total") == 401, service.said)

    shown = {kind: service.metric(f'nightshift_capture_entries_total{{kind="{kind}"}}') for kind in KINDS}
    assert shown == {"interactions": 301, "feedback": 100, "dead_letters": 1}
    assert service.metric("nightshift_capture_rebalances_total") >= 1
    assert service.metric("nightshift_capture_fences_total") == 0
    assert service.metric("nightshift_capture_batch_seconds_count") >= 1
    assert service.metric("nightshift_capture_watermark_age_seconds") > 0
    behind = [f'nightshift_capture_lag{{partition="{settings.topic}/{number}"}}' for number in range(4)]
    await_that(lambda: not any(map(service.metric, behind)), lambda: service.get("/metrics")[1])
    assert service.get("/healthz") == (200, "ok\n")

    assert service.drain() == 0, service.said()
    assert (store.counts()["interaction"], store.counts()["feedback"]) == (300, 100)
    (letter,) = store.dead_letters()
    store.close()
    assert dead_letters_on_their_topic(access, settings) == [letter]


def dead_letters_on_their_topic(access: KafkaAccess, settings: LogSettings) -> list[DeadLetter]:
    """What other consumers can read of them."""
    letters, kept = KafkaLog(access, settings, topic=settings.topic + DEAD_LETTERS), MemoryStore()
    capture(letters, kept)
    letters.close()
    return list(kept.dead_letters())


def test_two_processes_share_the_partitions_and_one_takes_over_when_the_other_ends(
    tmp_path: Path, log: KafkaLog, following: Following
) -> None:
    url = fresh_url("sqlite", tmp_path)
    store = SqlStore(url)
    one, other = following(url), following(url)
    await_that(lambda: held(one) == held(other) == 2, lambda: one.said() + other.said())
    log.append([encode(interaction(number)) for number in range(400)])
    await_that(lambda: store.watermark() == 400, one.said)
    assert one.drain() == 0
    await_that(lambda: held(other) == 4, other.said)
    log.append([encode(interaction(number)) for number in range(400, 800)])
    await_that(lambda: store.watermark() == 800, other.said)
    assert other.drain() == 0
    assert store.counts()["interaction"] == 800
    store.close()


def held(service: Follower) -> float:
    """How many partitions a service has."""
    return service.metric("nightshift_capture_partitions")
