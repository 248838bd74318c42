"""compose.yaml's broker: its settings on a real Kafka of the same version, and its topics through both listeners."""

import re

import pytest

from connectors.kafka.topics import create, faults
from loop import settings
from loop.settings import KafkaAccess
from tests.infra import INFRA, compose
from tests.services import Kafka, free_port

BROKER = compose()["services"]["kafka"]


@pytest.fixture(scope="module")
def listeners() -> tuple[KafkaAccess, KafkaAccess]:
    """The way of the other containers, and that of producers on this machine."""
    port = free_port(2)
    moved = {"29092": port + 1, "9092": port, "9093": port + 100, "kafka:": "127.0.0.1:"}
    ours = {
        name: text for name, text in BROKER["environment"].items() if name not in {"KAFKA_LOG_DIRS", "KAFKA_HEAP_OPTS"}
    }
    # As the image does it: KAFKA_NODE_ID becomes node.id.
    lines = [f"{name.removeprefix('KAFKA_').lower().replace('_', '.')}={text}" for name, text in ours.items()]
    properties = re.sub("|".join(moved), lambda found: str(moved[found[0]]), "\n".join(lines))
    broker = Kafka(properties=properties, port=port)
    yield tuple(KafkaAccess((f"127.0.0.1:{number}",)) for number in (port, port + 1))
    broker.remove()


def test_the_image_has_the_version_that_the_tests_run() -> None:
    version = BROKER["image"].partition(":")[2]
    assert f"<version>{version}</version>" in (INFRA / "kafka" / "pom.xml").read_text()


def test_the_topics_of_the_policy_can_be_made_through_either_listener(
    listeners: tuple[KafkaAccess, KafkaAccess],
) -> None:
    wanted = settings.load(INFRA / "compose.toml").log
    inside, host = listeners
    made = create(inside, wanted)
    assert all(made.values())
    assert not any(create(host, wanted).values())
    assert faults(host, wanted) == faults(inside, wanted) == ()
