"""What capture does when the world is broken: each fault with its outcome. Nothing is lost, it recovers by itself."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType

from connectors.kafka.client import administering
from connectors.kafka.log import KafkaLog
from connectors.kafka.net import NetClient
from connectors.kafka.topics import create
from connectors.sql.store import SqlStore
from loop.intake.capture import capture
from loop.intake.events import encode
from loop.intake.wire import MAX_EVENT_BYTES
from loop.ports import Envelope
from loop.settings import KafkaAccess
from tests import services
from tests.builders import NOON, interaction
from tests.capturing import Follower, await_that, follow_shortly
from tests.databases import DATABASES, fresh_url

OUTAGE_SECONDS = 60
BALLAST_BYTES = 1 << 16

Stream = tuple[KafkaLog, Follower]


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[Callable[..., Stream]]:
    """Starts a capture of a new topic on a broker into a store; the log is for sending."""
    opened: list[Stream] = []

    def start(broker: services.Kafka, store_url: str) -> Stream:
        log = services.fresh_kafka_log(broker, partitions=2)
        named = {"NIGHTSHIFT_KAFKA_SERVERS": ",".join(broker.servers), "NIGHTSHIFT_STORE_URL": store_url}
        chosen = [f"log.{key}={getattr(log.settings, key)}" for key in ("topic", "group")]
        opened.append((log, follow_shortly(tmp_path, named, *chosen, number=len(opened))))
        return opened[-1]

    yield start
    for log, service in opened:
        service.kill()
        log.close()


def send(log: KafkaLog, first: int, count: int) -> None:
    log.append([encode(interaction(number)) for number in range(first, first + count)])


def test_a_database_and_a_broker_that_are_down_for_a_minute_are_waited_for(
    tmp_path: Path, stream: Callable[..., Stream]
) -> None:
    broker, postgres = services.Kafka(), services.Postgres()
    url = fresh_url("sqlite", tmp_path)
    without_broker, without_database = stream(broker, url), stream(services.kafka(), postgres.url)
    stores = SqlStore(url), SqlStore(postgres.url)
    for log, _ in (without_broker, without_database):
        send(log, 0, 200)
        log.close()
    for store, (_, service) in zip(stores, (without_broker, without_database), strict=True):
        await_that(lambda store=store: store.watermark() == 200, service.said)

    postgres.crash()
    broker.kill(1)
    begun_meanwhile = [
        follow_shortly(tmp_path, service.named, *service.settings, number=number)
        for number, (_, service) in enumerate((without_broker, without_database), start=8)
    ]
    send(without_database[0], 200, 200)
    time.sleep(OUTAGE_SECONDS)
    for _, service in (without_broker, without_database):
        assert service.get("/healthz") == (200, "ok\n"), service.said()
        assert "does not answer" in service.said()
    broker.start()
    postgres.start()
    send(without_broker[0], 200, 200)

    for store, (log, service) in zip(stores, (without_broker, without_database), strict=True):
        await_that(lambda store=store: store.watermark() == 400, service.said)
        assert service.drain() == 0, service.said()
        assert store.counts()["interaction"] == 400
        store.close()
        log.close()
    for service in begun_meanwhile:
        assert service.drain() == 0, service.said()
    broker.remove()
    postgres.remove()


@pytest.mark.parametrize("database", DATABASES)
def test_a_full_disk_is_waited_for_and_nothing_is_lost(database: str, stream: Callable[..., Stream]) -> None:
    with services.small_disk("96m") as folder:
        postgres = services.Postgres(tables=folder) if database == "postgresql" else None
        url = postgres.url if postgres else fresh_url(database, folder)
        log, service = stream(services.kafka(), url)
        store = SqlStore(url)
        send(log, 0, 200)
        await_that(lambda: store.watermark() == 200, service.said)
        ballast = fill(folder / "ballast")
        send(log, 200, 3_000)
        await_that(lambda: "trying again" in service.said(), service.said)
        assert store.watermark() < 3_200
        ballast.unlink()
        await_that(lambda: store.watermark() == 3_200, service.said)
        assert "the database answers again after" in service.said()
        assert service.drain() == 0, service.said()
        assert store.counts()["interaction"] == 3_200
        store.close()
        if postgres:
            postgres.remove()


def fill(path: Path) -> Path:
    """A file that takes all the room there is."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(BALLAST_BYTES))
    except OSError:
        return path


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = SqlStore(fresh_url(request.param, tmp_path))
    yield opened
    opened.close()


@pytest.fixture
def log() -> Iterator[KafkaLog]:
    opened = services.fresh_kafka_log(services.kafka(), partitions=1)
    yield opened
    opened.close()


GOOD = encode(interaction(1))
POISON = {
    "nothing at all": (b"", "truncated"),
    "invalid UTF-8": (GOOD.payload.replace(b"On its way.", b"\xc3\x28"), "invalid continuation byte"),
    "deep nesting": (b"[" * 100_000 + b"]" * 100_000, "got `array`"),
    "deep nesting in free metadata": (
        GOOD.payload.replace(b'"metadata":{}', b'"metadata":{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"}"),
        "nested without end",
    ),
    "a number nobody can hold": (GOOD.payload.replace(b'"schema_version":1', b'"schema_version":1e999'), "schema"),
    "a later schema version of another shape": (
        GOOD.payload.replace(b'"schema_version":1', b'"schema_version":99').replace(b"messages", b"turns"),
        "schema_version 99 is newer than 1",
    ),
    "a NUL in a text": (GOOD.payload.replace(b"On its way.", b"On its\\u0000way."), "NUL"),
    "half of a surrogate pair": (GOOD.payload.replace(b"On its way.", b"\\ud800"), "hex escape"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_becomes_a_dead_letter_with_its_bytes_and_what_follows_it_is_stored(
    name: str, log: KafkaLog, store: SqlStore
) -> None:
    payload, reason = POISON[name]
    assert payload != GOOD.payload
    log.append([Envelope("k", payload), GOOD])
    assert capture(log, store).new_rows == 2
    (letter,) = store.dead_letters()
    assert (letter.payload, letter.position) == (payload, 0)
    assert reason in letter.reason
    assert store.counts()["interaction"] == 1


def test_an_event_of_20_mb_that_a_topic_takes_is_kept_whole_as_a_dead_letter(store: SqlStore) -> None:
    access, settings = KafkaAccess(services.kafka().servers), services.log_settings(services.kafka(), partitions=1)
    create(access, settings)
    with administering(access) as admin:
        size = {"max.message.bytes": str(32 << 20)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, settings.topic, size)])
    large = b'{"text": "' + b"x" * (20 << 20) + b'"}'
    producer = KafkaProducer(kafka_client=NetClient, bootstrap_servers=access.servers, max_request_size=32 << 20)
    for payload in (large, GOOD.payload):
        producer.send(settings.topic, payload).get(60)
    producer.close()

    log = KafkaLog(access, settings)
    done = capture(log, store)
    assert (done.dead_letters, done.interactions) == (1, 1)
    (letter,) = store.dead_letters()
    assert letter.payload == large
    assert str(MAX_EVENT_BYTES) in letter.reason
    log.close()


@pytest.mark.parametrize("years", [-40, +40])
def test_a_producer_with_a_wrong_clock_loses_nothing(years: int, store: SqlStore, log: KafkaLog) -> None:
    skewed = NOON + timedelta(days=365 * years)
    producer = KafkaProducer(kafka_client=NetClient, bootstrap_servers=services.kafka().servers)
    payload = encode(replace(interaction(1), occurred_at=skewed)).payload
    stamp = int(skewed.timestamp() * 1000)
    sent = producer.send(log.settings.topic, payload, timestamp_ms=stamp).get(60)
    producer.close()
    assert abs(datetime.fromtimestamp(sent.timestamp / 1000, UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert capture(log, store).new_rows == 1
    (stored,) = store.interactions(store.watermark())
    assert stored.occurred_at == skewed
