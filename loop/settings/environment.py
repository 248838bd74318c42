"""Addresses and secrets of services: read from the environment, never from the settings file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from loop.errors import UsageError

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
OURS, KAFKA, MLFLOW = "NIGHTSHIFT_", "NIGHTSHIFT_KAFKA_", "MLFLOW_TRACKING_URI"


@dataclass(frozen=True, slots=True)
class KafkaAccess:
    """Access to the Kafka brokers; each field is read from NIGHTSHIFT_KAFKA_ with its name in capitals."""

    servers: tuple[str, ...]
    """Some of the brokers as host:port, separated by commas."""
    protocol: Protocol = "PLAINTEXT"
    mechanism: Mechanism | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    """File with the token for OAUTHBEARER, which another program keeps fresh."""
    ca_file: Path | None = None
    """Certificates by which the brokers' are checked; None for those of the system."""
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    member: str | None = None
    """Unique name of this process (static membership), so that its restart moves no partitions."""
    allow_plaintext: bool = False
    """Whether connections to other machines may be without encryption."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of the services, from the environment alone. None is the embedded default under `home`."""

    home: Path = Path(".nightshift")
    cache: Path | None = None
    """Folder that all homes of a user share, with converted and downloaded base models; None for no sharing."""
    store_url: str | None = None
    ledger_url: str | None = None
    mlflow_uri: str | None = None
    user_secret: str | None = field(default=None, repr=False)
    """Key of the HMAC that makes user pseudonyms; None for a key generated once under `home`."""
    kafka: KafkaAccess | None = None
    """Access to the event log on Kafka; None for the embedded log."""

    @property
    def shared(self) -> bool:
        """Whether the environment names a store, a ledger or a broker, which makes any folder a project."""
        return bool(self.store_url or self.ledger_url or self.kafka)

    @property
    def models(self) -> tuple[Path, ...]:
        """Folders in which base models are looked for; new ones are made in the last that can be written.

        The home's own come first: its versions were trained on them, and homes made before 0.2 have them there.
        """
        folders = [self.home / "models"]
        if self.cache:
            folders.append(self.cache / "models")
        return tuple(folders)


def addresses(environment: Mapping[str, str] = os.environ) -> Addresses:
    """Addresses from NIGHTSHIFT_HOME, _CACHE, _STORE_URL, _LEDGER_URL, _USER_SECRET, _KAFKA_* and MLFLOW_TRACKING_URI.

    XDG_CACHE_HOME and HOME say where the cache is by default. Raises UsageError for a Kafka protocol or mechanism that
    is unknown.
    """
    return Addresses(
        home=Path(environment.get("NIGHTSHIFT_HOME", ".nightshift")),
        cache=_cache(environment),
        store_url=environment.get("NIGHTSHIFT_STORE_URL"),
        ledger_url=environment.get("NIGHTSHIFT_LEDGER_URL"),
        mlflow_uri=environment.get(MLFLOW),
        user_secret=environment.get("NIGHTSHIFT_USER_SECRET"),
        kafka=_kafka({name.removeprefix(KAFKA): text for name, text in environment.items() if name.startswith(KAFKA)}),
    )


def without_addresses(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without all that `addresses` reads of ours, under which a command knows nobody's services."""
    return {name: text for name, text in environment.items() if not name.startswith(OURS) and name != MLFLOW}


def _cache(environment: Mapping[str, str]) -> Path | None:
    """The folder NIGHTSHIFT_CACHE, else `nightshift` in the user's cache folder; None for a user without one."""
    if named := environment.get("NIGHTSHIFT_CACHE"):
        return Path(named)
    users = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "")) / ".cache")
    # Without HOME the path is relative: it would be another folder for each project.
    return users / "nightshift" if users.is_absolute() else None


def _kafka(named: Mapping[str, str]) -> KafkaAccess | None:
    servers = tuple(server.strip() for server in named.get("SERVERS", "").split(",") if server.strip())
    if not servers:  # the brokers' addresses alone decide between Kafka and the embedded log
        return None
    return KafkaAccess(
        servers=servers,
        protocol=_one_of(Protocol, named, "PROTOCOL") or "PLAINTEXT",
        mechanism=_one_of(Mechanism, named, "MECHANISM"),
        username=named.get("USERNAME"),
        password=named.get("PASSWORD"),
        token_file=_path(named, "TOKEN_FILE"),
        ca_file=_path(named, "CA_FILE"),
        cert_file=_path(named, "CERT_FILE"),
        key_file=_path(named, "KEY_FILE"),
        key_password=named.get("KEY_PASSWORD"),
        member=named.get("MEMBER"),
        allow_plaintext=named.get("ALLOW_PLAINTEXT", "0") == "1",
    )


def _one_of(known: Any, named: Mapping[str, str], name: str) -> Any:  # noqa: ANN401 - a member of the Literal `known`
    text = named.get(name)
    if text is not None and text not in get_args(known):
        raise UsageError(f"{KAFKA}{name}={text} is unknown", f"use one of {', '.join(get_args(known))}")
    return text


def _path(named: Mapping[str, str], name: str) -> Path | None:
    return Path(named[name]) if name in named else None
