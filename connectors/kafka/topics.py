"""Topics of Kafka: created with safe settings, and compared with these settings where they exist."""

from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from connectors.kafka.client import administering
from connectors.kafka.sender import MAX_MESSAGE_BYTES
from loop.settings import KafkaAccess, LogSettings

DEAD_LETTERS = ".dead-letters"
"""Suffix of the topic for payloads that could not be parsed."""


def wanted(settings: LogSettings) -> dict[str, dict[str, Any]]:
    """Both topics as kafka-python's `create_topics` takes them."""
    shape = {"replication_factor": settings.replication_factor}
    common = {
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
        "min.insync.replicas": str(settings.min_insync_replicas),
        # By a producer's wrong clock, retention would delete new events.
        "message.timestamp.type": "LogAppendTime",
    }
    retention = {"cleanup.policy": "delete", "retention.ms": str(int(settings.retention_days * 86_400_000))}
    return {
        settings.topic: {**shape, "num_partitions": settings.partitions, "configs": {**common, **retention}},
        settings.topic + DEAD_LETTERS: {
            **shape,
            "num_partitions": 1,
            # Compacted, so that dead letters stay whatever their age.
            "configs": {**common, "max.message.bytes": str(2 * MAX_MESSAGE_BYTES), "cleanup.policy": "compact"},
        },
    }


def create(access: KafkaAccess, settings: LogSettings) -> Mapping[str, bool]:
    """Create the absent topics; returns for each topic whether it was created. Existing ones stay as they are."""
    shapes = wanted(settings)
    with administering(access) as admin:
        missing = _absent(admin, settings)
        if missing:
            admin.create_topics({name: shapes[name] for name in missing}, wait_for_metadata=True)
    return {name: name in missing for name in shapes}


def absent(access: KafkaAccess, settings: LogSettings) -> tuple[str, ...]:
    """The names of the topics that do not exist."""
    with administering(access) as admin:
        return _absent(admin, settings)


def _absent(admin: KafkaAdminClient, settings: LogSettings) -> tuple[str, ...]:
    present = set(admin.list_topics())
    return tuple(name for name in wanted(settings) if name not in present)


def faults(access: KafkaAccess, settings: LogSettings) -> tuple[str, ...]:
    """Faults of the topics, one sentence each: absent, without a leader, settings that could lose events."""
    shapes = wanted(settings)
    with administering(access) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics() if topic["name"] in shapes}
        asked = [ConfigResource(ConfigResourceType.TOPIC, name) for name in described]
        configs = admin.describe_configs(asked, config_filter="all")["topic"] if asked else {}
    found: list[str] = []
    for name, shape in shapes.items():
        found += _faults(name, shape["configs"], described.get(name), configs.get(name, {}))
    return tuple(found)


def _faults(
    name: str, needed: Mapping[str, str], topic: dict[str, Any] | None, configs: Mapping[str, dict[str, Any]]
) -> Iterator[str]:
    if topic is None:
        yield f"there is no topic {name}"
        return
    leaderless = [part["partition_index"] for part in topic["partitions"] if part["leader_id"] < 0]
    if leaderless:
        yield f"{name} has no leader for partitions {leaderless}"
    for key in ("cleanup.policy", "min.insync.replicas", "message.timestamp.type"):
        value = configs[key]["value"]
        if value != needed[key]:
            yield f"{name} has {key}={value}, wanted {needed[key]}"
    # A topic that takes more than we ask for loses nothing.
    if int(configs["max.message.bytes"]["value"]) < int(needed["max.message.bytes"]):
        yield f"{name} refuses events that are not too large: max.message.bytes has to be {needed['max.message.bytes']}"
