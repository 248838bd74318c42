"""Settings of every Kafka client (addresses, encryption, credentials), and kafka-python's errors as ours."""

import ipaddress
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kafka import KafkaAdminClient, errors
from kafka.net.sasl.oauth import AbstractTokenProvider

from connectors.kafka.net import NetClient
from loop.errors import EventError, IntegrityError, NightshiftError, NotFoundError, UnreachableError, UsageError
from loop.settings import KafkaAccess

Config = dict[str, object]

MEANINGS: tuple[tuple[tuple[type[Exception], ...], type[NightshiftError], str, str], ...] = (
    (
        (errors.SaslAuthenticationFailedError, errors.AuthorizationError),
        UsageError,
        "Kafka refused these credentials: {error}",
        "compare NIGHTSHIFT_KAFKA_* with the broker's users and ACLs",
    ),
    (
        (errors.FencedInstanceIdError,),
        UsageError,
        "another process has joined the group as {member}",
        "give every capture process a NIGHTSHIFT_KAFKA_MEMBER of its own",
    ),
    (
        (errors.InvalidReplicationFactorError,),
        UsageError,
        "there are fewer brokers than a new topic shall have copies (log.replication_factor)",
        "start more brokers, or lower log.replication_factor and log.min_insync_replicas in the settings",
    ),
    (
        (errors.UnknownTopicOrPartitionError,),
        NotFoundError,
        "Kafka has no such topic: {error}",
        "nightshift topics create",
    ),
    (
        (errors.MessageSizeTooLargeError,),
        EventError,
        "Kafka refused an event as too large: {error}",
        "raise max.message.bytes of the topic",
    ),
    (
        (errors.CorruptRecordError, errors.CorruptRecordException, errors.UnsupportedCodecError),
        IntegrityError,
        "Kafka gave what cannot be read: {error}",
        "look at who produces and at the brokers' disks; what stands there has to be passed over by hand",
    ),
    (
        (
            errors.IncompatibleBrokerVersion,
            errors.InconsistentGroupProtocolError,
            errors.InvalidConfigurationError,
            errors.InvalidSessionTimeoutError,
            errors.InvalidTopicError,
            errors.KafkaConfigurationError,
            errors.PolicyViolationError,
            errors.UnsupportedVersionError,
        ),
        UsageError,
        "Kafka does not take these settings: {error}",
        "compare NIGHTSHIFT_KAFKA_* and [log] with the brokers' configuration",
    ),
    # Last, because it is the base of all the others.
    (
        (errors.KafkaError,),
        UnreachableError,
        "Kafka at {servers} does not answer: {error}",
        "see that the brokers run (nightshift doctor), then repeat",
    ),
)
"""Meanings of kafka-python's errors, of which the first that fits counts: kinds, our error, what happened, remedy."""


class FileToken(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python is untyped
    """An OAuth bearer token that another program renews in a file; it is read again for every connection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def token(self) -> str:
        return self.path.read_text().strip()


def connection(access: KafkaAccess) -> Config:
    """The settings that producer, consumer and admin client share.

    Raises UsageError for missing or contradictory settings, and for an unencrypted connection that leaves this machine
    unless NIGHTSHIFT_KAFKA_ALLOW_PLAINTEXT says that the network is safe.
    """
    encrypted = access.protocol.endswith("SSL")
    if not encrypted and not access.allow_plaintext and not all(map(_is_loopback, access.servers)):
        raise UsageError(
            f"{access.protocol} to {', '.join(access.servers)} would send users' texts unencrypted",
            "set NIGHTSHIFT_KAFKA_PROTOCOL to SSL or SASL_SSL, or NIGHTSHIFT_KAFKA_ALLOW_PLAINTEXT=1 on a safe network",
        )
    return {
        "bootstrap_servers": list(access.servers),
        "security_protocol": access.protocol,
        "bootstrap_timeout_ms": 15_000,
        "reconnect_backoff_max_ms": 2_000,
        **(_tls(access) if encrypted else {}),
        **(_sasl(access) if access.protocol.startswith("SASL") else {}),
    }


@contextmanager
def explained(access: KafkaAccess) -> Iterator[None]:
    """Turn kafka-python's errors into ours, which say what to do."""
    try:
        yield
    except errors.KafkaError as error:
        kind, what, remedy = next(meaning[1:] for meaning in MEANINGS if isinstance(error, meaning[0]))
        message = what.format(error=error, member=access.member, servers=", ".join(access.servers))
        raise kind(message, remedy) from error


@contextmanager
def opening(access: KafkaAccess) -> Iterator[Config]:
    """The settings for a client that the block makes; an error says why it could not connect, and leaves no thread."""
    failures, manager, started = _ConnectErrors(), logging.getLogger("kafka.net.manager"), list[NetClient]()

    def client(**settings: object) -> NetClient:
        started.append(NetClient(**settings))
        return started[-1]

    manager.addHandler(failures)
    try:
        with explained(access):
            try:
                yield {**connection(access), "kafka_client": client}
            except errors.KafkaError as error:
                # A constructor that raises gives nobody the client to close, and its IO thread would run on.
                for half_made in started:
                    half_made.close()
                # A timeout says only that there was no connection; the reason stands in the log.
                cause = failures.reason if isinstance(error, errors.KafkaTimeoutError) else None
                raise cause or error from error
    finally:
        manager.removeHandler(failures)


@contextmanager
def administering(access: KafkaAccess) -> Iterator[KafkaAdminClient]:
    """A client that lists topics and makes them."""
    with opening(access) as settings, KafkaAdminClient(**settings) as admin:
        yield admin


class _ConnectErrors(logging.Handler):
    """Log handler that keeps the error of a failed connection, which kafka-python logs but does not raise."""

    def __init__(self) -> None:
        super().__init__()
        self.reason: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        # Refused credentials outweigh the errors that follow from them.
        if isinstance(self.reason, errors.SaslAuthenticationFailedError):
            return
        for argument in record.args or ():
            if isinstance(argument, Exception) and not isinstance(argument, errors.KafkaTimeoutError):
                self.reason = argument


def _is_loopback(server: str) -> bool:
    # host:port, with an IPv6 address in brackets; without a port all of it is the host.
    host = server.rpartition(":")[0].strip("[]") or server
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(access: KafkaAccess) -> Config:
    return {
        "ssl_check_hostname": True,
        "ssl_cafile": access.ca_file,
        "ssl_certfile": access.cert_file,
        "ssl_keyfile": access.key_file,
        "ssl_password": access.key_password,
    }


def _sasl(access: KafkaAccess) -> Config:
    if access.mechanism == "OAUTHBEARER":
        if access.token_file is None:
            raise UsageError(
                "OAUTHBEARER needs a token", "set NIGHTSHIFT_KAFKA_TOKEN_FILE to a file that is kept fresh"
            )
        return {"sasl_mechanism": access.mechanism, "sasl_oauth_token_provider": FileToken(access.token_file)}
    if not (access.mechanism and access.username and access.password):
        raise UsageError(
            f"{access.protocol} needs credentials", "set NIGHTSHIFT_KAFKA_MECHANISM, _USERNAME and _PASSWORD"
        )
    return {
        "sasl_mechanism": access.mechanism,
        "sasl_plain_username": access.username,
        "sasl_plain_password": access.password,
    }
