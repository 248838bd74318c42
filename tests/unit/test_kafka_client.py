"""Who may be talked to, and how, is decided before a connection is opened."""

import gc
import socket
from pathlib import Path

import pytest
from kafka.errors import KafkaConnectionError
from kafka.future import Future

from connectors.kafka.client import connection, opening
from loop import settings
from loop.errors import UsageError
from loop.settings import KafkaAccess


def access(**named: str) -> KafkaAccess:
    found = settings.addresses({f"NIGHTSHIFT_KAFKA_{name.upper()}": text for name, text in named.items()}).kafka
    assert found is not None
    return found


def test_without_servers_the_log_is_the_embedded_one():
    assert settings.addresses({"NIGHTSHIFT_KAFKA_PASSWORD": "x"}).kafka is None


@pytest.mark.parametrize("servers", ["localhost:9092", "127.0.0.1:9092,127.0.0.1:9093", "[::1]:9092"])
def test_this_machine_may_be_talked_to_in_plain_text(servers):
    assert connection(access(servers=servers))["bootstrap_servers"] == servers.split(",")


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SASL_PLAINTEXT"])
def test_another_machine_may_not_unless_the_network_is_declared_safe(protocol):
    named = {"servers": "127.0.0.1:9092,kafka.example.org:9092", "protocol": protocol}
    credentials = {"mechanism": "PLAIN", "username": "u", "password": "p"}
    with pytest.raises(UsageError, match="unencrypted"):
        connection(access(**named, **credentials))
    assert connection(access(**named, **credentials, allow_plaintext="1"))


def test_tls_checks_the_hostname_and_scram_sends_the_credentials():
    named = {"servers": "kafka.example.org:9094", "protocol": "SASL_SSL", "mechanism": "SCRAM-SHA-512"}
    config = connection(access(**named, username="capture", password="secret", ca_file="/ca.pem"))
    assert config["ssl_check_hostname"] is True
    assert config["ssl_cafile"] == Path("/ca.pem")
    assert config["sasl_mechanism"] == "SCRAM-SHA-512"
    assert (config["sasl_plain_username"], config["sasl_plain_password"]) == ("capture", "secret")


@pytest.mark.parametrize("missing", ["mechanism", "username", "password"])
def test_sasl_without_credentials_is_refused(missing):
    named = {"mechanism": "PLAIN", "username": "u", "password": "p"}
    del named[missing]
    with pytest.raises(UsageError, match="credentials"):
        connection(access(servers="localhost:1", protocol="SASL_PLAINTEXT", **named))


def test_a_bearer_token_is_read_from_its_file_again_for_every_connection(tmp_path):
    file = tmp_path / "token"
    config = connection(
        access(servers="localhost:1", protocol="SASL_SSL", mechanism="OAUTHBEARER", token_file=str(file))
    )
    provider = config["sasl_oauth_token_provider"]
    for token in ("first", "second"):
        file.write_text(f"{token}\n")
        assert provider.token() == token
    with pytest.raises(UsageError, match="TOKEN_FILE"):
        connection(access(servers="localhost:1", protocol="SASL_SSL", mechanism="OAUTHBEARER"))


@pytest.mark.parametrize(("name", "text"), [("protocol", "TLS"), ("mechanism", "SCRAM")])
def test_an_unknown_word_is_refused_with_those_that_are_known(name, text):
    with pytest.raises(UsageError, match=f"NIGHTSHIFT_KAFKA_{name.upper()}={text}") as refused:
        access(servers="localhost:1", **{name: text})
    assert "SASL_SSL" in refused.value.remedy or "SCRAM-SHA-512" in refused.value.remedy


def test_secrets_do_not_show_when_settings_are_printed():
    assert "s3cret" not in repr(access(servers="localhost:1", password="s3cret", key_password="s3cret"))


class Hearing:
    """What a connection of kafka-python is told by its transport."""

    _sensors = None

    def __init__(self) -> None:
        self.said = b""
        self.ended = Future()

    def data_received(self, data: bytes) -> None:
        self.said += data

    def connection_lost(self, error: Exception | None) -> None:
        self.ended.failure(error)


def test_what_a_broker_says_as_it_hangs_up_is_heard_before_the_end():
    with socket.create_server(("127.0.0.1", 0)) as broker:
        with opening(access(servers=f"127.0.0.1:{broker.getsockname()[1]}")) as config:
            client = config.pop("kafka_client")(**config)
        [node] = client.cluster.bootstrap_brokers()
        transport = client._net.run(client._manager._build_transport, node)
        accepted, _ = broker.accept()
        with accepted:
            accepted.sendall(b"wrong password")
        heard = Hearing()
        transport.set_protocol(heard)
        transport.resume_reading()
        client._net.poll(timeout_ms=10_000, future=heard.ended)
        client.close()
    assert heard.said == b"wrong password"
    assert isinstance(heard.ended.exception, KafkaConnectionError)


@pytest.mark.parametrize("rounds", range(4))
def test_a_client_that_closes_leaves_no_socket_open_however_far_its_connection_is(rounds: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        with opening(access(servers=f"127.0.0.1:{broker.getsockname()[1]}")) as config:
            client = config.pop("kafka_client")(**config)
        [node] = client.cluster.bootstrap_brokers()
        client._manager.get_connection(node.node_id)
        for _ in range(rounds):
            client.poll(timeout_ms=0)
        for _ in range(2):
            client.close()
        gc.collect()  # a socket left open is told by a warning, and warnings are errors
