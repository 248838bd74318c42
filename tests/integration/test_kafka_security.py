"""Encrypted and authenticated connections, against a real broker with certificates of its own."""

import base64
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
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
from kafka.admin import ScramMechanism, UserScramCredentialUpsertion

from connectors.kafka.client import administering
from connectors.kafka.log import KafkaLog
from connectors.kafka.topics import create, faults
from loop.errors import NotFoundError
from loop.intake.capture import Captured, capture
from loop.intake.events import encode
from loop.settings import KafkaAccess
from loop.testing import MemoryStore
from tests import services
from tests.builders import interaction
from tests.project import command, environment

PASSWORD = "open sesame"  # noqa: S105 - of a broker that lives as long as the test
TLS, SASL, OTHER = 1, 2, 3
"""Listeners of the broker, in the order of their ports."""
SASL_SSL = {"protocol": "SASL_SSL", "username": "capture", "password": "no"}
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
auto.create.topics.enable=true
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
    with administering(found.access(0)) as admin:
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


def test_a_topic_that_is_absent_is_not_made_by_looking_for_it(secured: Secured) -> None:
    settings = services.log_settings(secured.broker, partitions=1)
    log = KafkaLog(secured.access(0), settings)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            log.ends()
        log.wait(0.5)
    log.close()
    assert f"there is no topic {settings.topic}" in faults(secured.access(0), settings)


REFUSED: Mapping[str, tuple[int, Mapping[str, str], int, str]] = {
    "a wrong password": (SASL, {**SASL_SSL, "mechanism": "PLAIN"}, 2, "Kafka refused these credentials"),
    "a wrong SCRAM password": (SASL, {**SASL_SSL, "mechanism": SCRAM[1]}, 2, "Kafka refused these credentials"),
    "a broker that somebody else vouches for": (
        TLS,
        {"protocol": "SSL", "ca_file": "stranger.pem"},
        5,
        "certificate verify failed",
    ),
    "a certificate of another host": (OTHER, {"protocol": "SSL"}, 5, "IP address mismatch"),
    "no certificate of our own": (TLS, {"protocol": "SSL"}, 5, "does not answer"),
}
"""Listener, how it is addressed, the exit code and what is said."""


@pytest.fixture(scope="module")
def refusals(secured: Secured) -> Mapping[str, "subprocess.Popen[str]"]:
    """`nightshift topics create` in every such way, all at once because each waits for 15 seconds."""
    return {
        name: _topics_create(secured, listener, {"ca_file": "ca.pem", **named})
        for name, (listener, named, _, _) in REFUSED.items()
    }


def _topics_create(secured: Secured, listener: int, named: Mapping[str, str]) -> "subprocess.Popen[str]":
    variables = {"SERVERS": f"127.0.0.1:{secured.broker.port + listener}"}
    for name, text in named.items():
        variables[name.upper()] = str(secured.folder / text) if name.endswith("_file") else text
    kafka = {f"NIGHTSHIFT_KAFKA_{name}": text for name, text in variables.items()}
    return subprocess.Popen(
        command("topics", "create"),
        cwd=secured.folder,
        env=environment() | kafka,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trusted_is_refused_with_the_reason(
    name: str, refusals: Mapping[str, "subprocess.Popen[str]"]
) -> None:
    _, said = refusals[name].communicate()
    _, _, code, reason = REFUSED[name]
    assert refusals[name].returncode == code
    assert reason in said
    assert "Traceback" not in said
