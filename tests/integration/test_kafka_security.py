"""Encrypted and authenticated connections, against a real broker with certificates of its own."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from kafka import KafkaAdminClient
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from connectors.kafka_client import connection
from connectors.kafka_log import KafkaLog
from connectors.kafka_topics import create
from loop.capture import Captured, capture
from loop.events import encode
from loop.settings import KafkaAccess
from tests import services
from tests.builders import interaction
from tests.fakes import MemoryStore
from tests.project import command, environment

PASSWORD = "open sesame"  # noqa: S105 - of a broker that lives as long as the test
TLS, SASL, OTHER = 1, 2, 3
"""Listeners of the broker, in the order of their ports."""
SCRAM = ("SCRAM-SHA-256", "SCRAM-SHA-512")
LOGINS = "org.apache.kafka.common.security"
PROPERTIES = """
listeners=PLAINTEXT://{0},CONTROLLER://{controller},TLS://{1},SASL://{2},OTHER://{3}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASL:SASL_SSL,OTHER:SSL
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.other.ssl.keystore.type=PEM
listener.name.other.ssl.keystore.location={folder}/elsewhere.pem
listener.name.tls.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl.plain.sasl.jaas.config={logins}.plain.PlainLoginModule required user_capture="{password}";
listener.name.sasl.scram-sha-256.sasl.jaas.config={logins}.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config={logins}.scram.ScramLoginModule required;
listener.name.sasl.oauthbearer.sasl.jaas.config={logins}.oauthbearer.OAuthBearerLoginModule required \
  unsecuredLoginStringClaim_sub="broker";
"""


@dataclass(frozen=True, slots=True)
class Secured:
    """A broker with one port for each way in, and the certificates."""

    broker: services.Kafka
    folder: Path

    def access(self, listener: int, **named: object) -> KafkaAccess:
        """To the listener with this place in the list."""
        return replace(
            KafkaAccess((f"127.0.0.1:{self.broker.port + listener}",), ca_file=self.folder / "ca.pem"), **named
        )

    def sasl(self, mechanism: str) -> KafkaAccess:
        return self.access(SASL, protocol="SASL_SSL", mechanism=mechanism, username="capture", password=PASSWORD)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    certificates(folder)
    port = services.free_port(4)
    addresses = [f"127.0.0.1:{port + listener}" for listener in range(4)]
    broker = services.Kafka(
        properties=PROPERTIES.format(
            *addresses, controller=f"127.0.0.1:{port + 100}", folder=folder, password=PASSWORD, logins=LOGINS
        ),
        port=port,
    )
    found = Secured(broker, folder)
    with KafkaAdminClient(**connection(found.access(0))) as admin:
        for mechanism in SCRAM:
            kind = ScramMechanism[mechanism.replace("-", "_")]
            admin.alter_user_scram_credentials([UserScramCredentialUpsertion("capture", kind, PASSWORD)])
    yield found
    broker.remove()


def certificates(folder: Path) -> None:
    """ca.pem, broker.pem for 127.0.0.1, elsewhere.pem for another host, client.pem, and stranger.pem of another CA."""
    ours, theirs = trustme.CA(), trustme.CA()
    ours.cert_pem.write_to_path(folder / "ca.pem")
    theirs.cert_pem.write_to_path(folder / "stranger.pem")
    for name, host in (("broker", "127.0.0.1"), ("elsewhere", "kafka.example.org"), ("client", "capture@example.org")):
        issued = ours.issue_cert(host)
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(pem + b"".join(cert.bytes() for cert in issued.cert_chain_pems))


def token(seconds: float) -> str:
    """An unsigned bearer token, which only a test's broker takes."""
    claims = {"sub": "capture", "iat": time.time(), "exp": time.time() + seconds}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in ({"alg": "none"}, claims)
    ]
    return ".".join(parts) + "."


def sent_and_captured(secured: Secured, access: KafkaAccess) -> Captured:
    """One event, there and back."""
    settings = services.log_settings(secured.broker, partitions=1)
    create(access, settings)
    log = KafkaLog(access, settings)
    log.append([encode(interaction(1))])
    captured = capture(log, MemoryStore())
    log.close()
    return captured


def test_events_travel_over_tls_with_a_client_certificate(secured: Secured) -> None:
    pem = secured.folder / "client.pem"
    access = secured.access(TLS, protocol="SSL", cert_file=pem, key_file=pem)
    assert sent_and_captured(secured, access).new_rows == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", *SCRAM])
def test_events_travel_over_tls_with_a_name_and_a_password(secured: Secured, mechanism: str) -> None:
    assert sent_and_captured(secured, secured.sasl(mechanism)).new_rows == 1


def test_events_travel_over_tls_with_a_bearer_token(secured: Secured, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token(600))
    access = secured.access(SASL, protocol="SASL_SSL", mechanism="OAUTHBEARER", token_file=file)
    assert sent_and_captured(secured, access).new_rows == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
def test_a_wrong_password_is_a_usage_error(secured: Secured, tmp_path: Path, mechanism: str) -> None:
    ended = refused(
        secured, tmp_path, SASL, protocol="SASL_SSL", mechanism=mechanism, username="capture", password="no"
    )
    assert ended.returncode == 2
    assert "Kafka refused these credentials" in ended.stderr


def test_a_broker_whose_certificate_is_signed_by_somebody_else_is_not_talked_to(
    secured: Secured, tmp_path: Path
) -> None:
    ended = refused(secured, tmp_path, TLS, protocol="SSL", ca_file=secured.folder / "stranger.pem")
    assert ended.returncode == 5
    assert "certificate verify failed" in ended.stderr


def test_a_certificate_for_another_host_is_not_taken(secured: Secured, tmp_path: Path) -> None:
    ended = refused(secured, tmp_path, OTHER, protocol="SSL")
    assert ended.returncode == 5
    assert "IP address mismatch" in ended.stderr


def test_without_a_client_certificate_the_broker_hangs_up(secured: Secured, tmp_path: Path) -> None:
    ended = refused(secured, tmp_path, TLS, protocol="SSL")
    assert ended.returncode == 5
    assert f"Kafka at 127.0.0.1:{secured.broker.port + TLS} does not answer" in ended.stderr


def refused(secured: Secured, folder: Path, listener: int, **named: str | Path) -> "subprocess.CompletedProcess[str]":
    """`nightshift topics create` as the environment says, which must not end well nor with a traceback."""
    variables = {
        "servers": f"127.0.0.1:{secured.broker.port + listener}",
        "ca_file": secured.folder / "ca.pem",
        **named,
    }
    kafka = {f"NIGHTSHIFT_KAFKA_{name.upper()}": str(value) for name, value in variables.items()}
    ended = subprocess.run(
        command("topics", "create"),
        cwd=folder,
        env={**environment(), **kafka},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in ended.stderr
    return ended
