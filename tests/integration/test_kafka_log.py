"""What only Kafka does: topics, groups, transactions, brokers that go away."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
from kafka import KafkaProducer, TopicPartition

from connectors.kafka import topics
from connectors.kafka.client import administering
from connectors.kafka.log import KafkaLog
from connectors.kafka.net import NetClient
from loop.app import App
from loop.doctor import event_log
from loop.errors import EventError, IntegrityError, NotFoundError, UnreachableError
from loop.intake.capture import Captured, capture, steps
from loop.intake.events import encode
from loop.ports import Batch, Envelope, Parsed, Partition
from loop.settings import KafkaAccess, LogSettings, load
from loop.testing import MemoryStore
from tests import services
from tests.builders import interaction
from tests.capturing import await_that


@pytest.fixture
def access() -> KafkaAccess:
    return KafkaAccess(services.kafka().servers)


@pytest.fixture
def settings() -> LogSettings:
    return services.log_settings(services.kafka(), partitions=3)


@pytest.fixture
def log(access: KafkaAccess, settings: LogSettings) -> Iterator[KafkaLog]:
    topics.create(access, settings)
    opened = KafkaLog(access, settings)
    yield opened
    opened.close()


def test_topics_are_made_once_and_then_have_no_faults(access: KafkaAccess, settings: LogSettings) -> None:
    assert topics.faults(access, settings) == (
        f"there is no topic {settings.topic}",
        f"there is no topic {settings.topic}.dead-letters",
    )
    assert set(topics.create(access, settings).values()) == {True}
    assert set(topics.create(access, settings).values()) == {False}
    assert topics.faults(access, settings) == ()
    (fault, _) = topics.faults(access, replace(settings, min_insync_replicas=2))
    assert "min.insync.replicas=1" in fault


def test_a_topic_that_is_absent_is_named_with_the_command_that_makes_it(
    access: KafkaAccess, settings: LogSettings
) -> None:
    log = KafkaLog(access, settings)
    started = time.monotonic()
    for ask in (log.ends, lambda: log.append([encode(interaction(1))])):
        with pytest.raises(NotFoundError, match=settings.topic) as refused:
            ask()
        assert "topics create" in refused.value.remedy
    assert time.monotonic() - started < 30
    log.close()


def test_a_broker_that_does_not_answer_is_named_and_ends_the_command_with_5(tmp_path: Path) -> None:
    server = f"127.0.0.1:{services.free_port()}"
    environment = {**os.environ, "NIGHTSHIFT_KAFKA_SERVERS": server, "NIGHTSHIFT_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "loop.cli", "topics", "create"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert f"Kafka at {server} does not answer" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_belongs_together_keeps_its_order_and_everything_is_captured_once(log: KafkaLog) -> None:
    log.append([encode(interaction(number)) for number in range(500)])
    store = MemoryStore()
    assert capture(log, store, batch_size=100) == Captured(interactions=500, new_rows=500)
    assert capture(log, store) == Captured()
    order = list(store.interactions(store.watermark()))
    for conversation in {event.conversation_id for event in order}:
        numbers = [int(event.interaction_id[1:]) for event in order if event.conversation_id == conversation]
        assert numbers == sorted(numbers)


def test_members_of_a_group_share_the_partitions_and_each_event_is_stored_once(
    log: KafkaLog, access: KafkaAccess, settings: LogSettings
) -> None:
    other = KafkaLog(access, settings)
    log.append([encode(interaction(number)) for number in range(3_000)])
    store = MemoryStore()
    found: list[Captured] = []
    threads = [
        Thread(target=lambda each: found.append(capture(each, store, batch_size=50)), args=[each])
        for each in (log, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert sum(each.new_rows for each in found) == store.last_sequence == 3_000


def test_markers_of_transactions_are_passed_over_and_capture_still_gets_to_the_end(
    log: KafkaLog, access: KafkaAccess, settings: LogSettings
) -> None:
    producer = KafkaProducer(kafka_client=NetClient, bootstrap_servers=access.servers, transactional_id=settings.topic)
    producer.init_transactions()
    for end in (producer.commit_transaction, producer.abort_transaction):
        producer.begin_transaction()
        envelope = encode(interaction(1))
        producer.send(settings.topic, envelope.payload, envelope.key.encode())
        end()
    producer.close()
    store = MemoryStore()
    assert capture(log, store) == Captured(interactions=1, new_rows=1)
    assert {partition: store.position(partition) for partition in log.ends()} == log.ends()


def test_a_topic_made_anew_under_an_old_name_is_noticed(log: KafkaLog, settings: LogSettings) -> None:
    store = MemoryStore()
    store.offsets[Partition(settings.topic, 0)] = 10
    log.append([encode(interaction(1))])
    with pytest.raises(IntegrityError, match="before the stored position 10"):
        capture(log, store)


def test_doctor_notices_a_topic_made_anew_under_an_old_name(
    log: KafkaLog, access: KafkaAccess, settings: LogSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTSHIFT_KAFKA_SERVERS", ",".join(access.servers))
    app = App(replace(load(), log=settings))
    assert event_log(app).ok
    log.append([encode(interaction(1))])
    app.store.ingest(Parsed(Batch(Partition(settings.topic, 0), 0, 10, ()), (), (), ()))
    with pytest.raises(IntegrityError, match="before the stored position 10"):
        event_log(app)
    app.close()


def test_a_topic_made_anew_while_it_is_read_is_noticed(
    log: KafkaLog, access: KafkaAccess, settings: LogSettings
) -> None:
    store = MemoryStore()
    log.append([encode(interaction(number)) for number in range(100)])
    rounds = steps(log, store, batch_size=100)
    await_that(lambda: next(rounds) is None and store.last_sequence == 100, lambda: str(store.offsets))
    with administering(access) as admin:
        admin.delete_topics([settings.topic])
    await_that(lambda: faults(access, settings) != (), lambda: "the topic is still there")
    topics.create(access, settings)
    sender = KafkaLog(access, settings)
    sender.append([encode(interaction(number)) for number in range(100, 120)])
    sender.close()
    other = KafkaLog(access, settings)
    with pytest.raises(IntegrityError, match="before the stored position"):
        capture(other, store)
    other.close()
    with pytest.raises(IntegrityError, match="before the stored position"):
        await_that(lambda: next(rounds) is not None, lambda: "nothing was noticed")


def test_what_retention_took_before_it_was_stored_is_told(
    log: KafkaLog, access: KafkaAccess, settings: LogSettings, caplog: pytest.LogCaptureFixture
) -> None:
    store = MemoryStore()
    log.append([encode(interaction(number)) for number in range(100)])
    store.offsets = {Partition(settings.topic, number): 1 for number in range(3)}
    with administering(access) as admin:
        admin.delete_records({TopicPartition(settings.topic, number): 3 for number in range(3)})
    assert capture(log, store).interactions == 100 - 3 * 3
    assert caplog.text.count("2 entries were deleted before they were stored") == 3


def test_a_partition_that_was_lost_and_given_back_while_waiting_is_sought_again(log: KafkaLog) -> None:
    store = MemoryStore()
    log.append([encode(interaction(number)) for number in range(50)])
    assert capture(log, store).new_rows == 50
    log.append([encode(interaction(number)) for number in range(50, 100)])
    log._consumer._net.run(log._consumer._coordinator.maybe_leave_group_async)  # what a long silence looks like
    await_that(lambda: log.wait(0.5) is None and len(log.unplaced()) == 3, lambda: str(log.unplaced()))
    assert capture(log, store).new_rows == 50


def test_what_another_client_compressed_with_snappy_is_read(log: KafkaLog, settings: LogSettings) -> None:
    producer = KafkaProducer(
        kafka_client=NetClient, bootstrap_servers=services.kafka().servers, compression_type="snappy"
    )
    producer.send(settings.topic, encode(interaction(1)).payload).get(30)
    producer.close()
    assert capture(log, MemoryStore()).new_rows == 1


def test_a_partition_without_a_leader_does_not_stop_the_others() -> None:
    brokers = services.Kafka(brokers=3)
    # in a process of its own: kafka-python does not close the sockets of connections that failed
    capturing = multiprocessing.get_context("spawn").Process(target=capture_without_a_leader, args=[brokers])
    capturing.start()
    capturing.join()
    brokers.remove()
    assert capturing.exitcode == 0


def capture_without_a_leader(brokers: services.Kafka) -> None:
    settings = replace(services.log_settings(brokers, partitions=3), replication_factor=1, min_insync_replicas=1)
    access = KafkaAccess(brokers.servers)
    topics.create(access, settings)
    with administering(access) as admin:
        (topic,) = (each for each in admin.describe_topics() if each["name"] == settings.topic)
    leaders = {part["leader_id"]: part["partition_index"] for part in topic["partitions"]}
    brokers.kill(2)
    await_that(lambda: any("no leader" in fault for fault in faults(access, settings)), lambda: "2 still leads")
    sender = KafkaProducer(kafka_client=NetClient, bootstrap_servers=access.servers)
    for leader in (1, 3):
        sender.send(settings.topic, encode(interaction(leader)).payload, partition=leaders[leader]).get(30)
    sender.close()
    log, store = KafkaLog(access, settings), MemoryStore()
    with pytest.raises(UnreachableError, match="no leader"):
        log.ends()
    with closing(steps(log, store, batch_size=10, patience=60.0)) as rounds:
        await_that(lambda: next(rounds) is None and store.last_sequence == 2, lambda: str(store.ingested))
    log.close()


def faults(access: KafkaAccess, settings: LogSettings) -> tuple[str, ...]:
    """Those of the topics; none while the cluster finds itself."""
    with suppress(UnreachableError):
        return topics.faults(access, settings)
    return ()


def test_an_event_too_large_for_the_topic_is_refused_and_named(log: KafkaLog) -> None:
    with pytest.raises(EventError, match="too large"):
        log.append([Envelope("k", b"x" * (20 << 20))])
    log.append([encode(interaction(1))])
    assert capture(log, MemoryStore()).new_rows == 1


def test_a_partition_that_stands_still_although_there_is_more_is_joined_again(
    access: KafkaAccess, settings: LogSettings
) -> None:
    topics.create(access, settings)
    log, store = KafkaLog(access, settings, stuck_seconds=0.1), MemoryStore()
    assert capture(log, store) == Captured()
    log.append([encode(interaction(number)) for number in range(100)])
    log._consumer.pause(*log._consumer.assignment())  # what a stuck fetcher looks like from here
    end = time.monotonic() + 60
    while store.last_sequence < 100 and time.monotonic() < end:
        capture(log, store)
    log.close()
    assert store.last_sequence == 100
