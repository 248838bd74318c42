"""Real servers on free loopback ports, started by the tests that need them and gone when the test run ends."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from loop.settings import KafkaAccess, LogSettings

if TYPE_CHECKING:
    from connectors.kafka.log import KafkaLog

ROOT = Path(__file__).parents[1]
RUN_KAFKA = ROOT / "infra" / "kafka" / "run.sh"
POSTGRES_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian keeps initdb and pg_ctl, which are not on the PATH."""


def require(part: str, *, present: bool, remedy: str) -> None:
    """Skip with the reason, or fail when NIGHTSHIFT_REQUIRE names `part`."""
    if present:
        return
    if part in os.environ.get("NIGHTSHIFT_REQUIRE", "").split(","):
        pytest.fail(f"NIGHTSHIFT_REQUIRE names {part}, which is absent: {remedy}")
    pytest.skip(f"{part} is absent: {remedy}")


class Postgres:
    """A private PostgreSQL cluster in a temporary folder, or with its tables in a folder of yours."""

    def __init__(self, tables: Path | None = None) -> None:
        _require_postgres()
        self.user = "postgres" if os.geteuid() == 0 else None
        """PostgreSQL refuses to run as root."""
        self.folder = Path(tempfile.mkdtemp(prefix="nightshift-postgres-"))
        self.tables = tables or self.folder
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        if self.user:
            for each in {self.folder, self.tables}:
                shutil.chown(each, self.user)
        self._command(
            "initdb",
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            f"--waldir={self.folder}/wal",
        )
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self._command("pg_ctl", "start", "--wait", "--silent", f"--log={self.folder}/log", f"--options={options}")

    def crash(self) -> None:
        """Every process ends at once; the next start recovers from the write-ahead log."""
        self._command("pg_ctl", "stop", "--mode=immediate", "--silent")

    def remove(self) -> None:
        self.crash()
        shutil.rmtree(self.folder)

    def _command(self, name: str, *arguments: str) -> None:
        binary = shutil.which(name) or shutil.which(name, path=os.pathsep.join(map(str, POSTGRES_BINARIES)))
        command = [str(binary), f"--pgdata={self.tables / 'data'}", *arguments]
        subprocess.run(command, user=self.user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)


class Kafka:
    """Apache Kafka in a temporary folder; brokers count from 1."""

    def __init__(self, brokers: int = 1, properties: str = "", port: int | None = None) -> None:
        _require_kafka()
        self.folder = Path(tempfile.mkdtemp(prefix="nightshift-kafka-"))
        (self.folder / "properties").write_text(properties)
        self.port = port or free_port(brokers)
        self._first = ["--brokers", str(brokers), "--port", str(self.port), "--properties", f"{self.folder}/properties"]
        self.servers = tuple(self._command("start", *self._first).split(","))

    def start(self) -> None:
        """Bring back what was killed."""
        self._command("start")

    def kill(self, broker: int) -> None:
        os.kill(int((self.folder / str(broker) / "pid").read_text()), signal.SIGKILL)

    def remove(self) -> None:
        self._command("stop")
        shutil.rmtree(self.folder)

    def _command(self, verb: str, *arguments: str) -> str:
        command = [str(RUN_KAFKA), verb, "--data", str(self.folder), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


_shared: list["Postgres | Kafka"] = []


@cache
def postgres() -> Postgres:
    """The cluster that all tests share."""
    server = Postgres()
    _shared.append(server)
    return server


@cache
def kafka() -> Kafka:
    """The broker that all tests share."""
    broker = Kafka()
    _shared.append(broker)
    return broker


def remove_shared() -> None:
    """Stop the servers that all tests of this process share."""
    while _shared:
        _shared.pop().remove()


def fresh_kafka_log(server: Kafka, partitions: int) -> "KafkaLog":
    """A log on a new topic with its own group."""
    from connectors.kafka.log import KafkaLog
    from connectors.kafka.topics import create

    settings = log_settings(server, partitions)
    access = KafkaAccess(server.servers)
    create(access, settings)
    return KafkaLog(access, settings)


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A folder on a file system of its own, which fills up; needs root."""
    folder = Path(tempfile.mkdtemp(prefix="nightshift-disk-"))
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    mounted = not subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode
    require("small-disk", present=mounted, remedy="run the tests as root where tmpfs may be mounted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        folder.rmdir()


def log_settings(server: Kafka, partitions: int) -> LogSettings:
    """Of a topic and a group that nobody else has."""
    name = f"events-{uuid.uuid4().hex[:8]}"
    copies = min(len(server.servers), 3)
    return LogSettings(
        topic=name, group=name, partitions=partitions, replication_factor=copies, min_insync_replicas=min(copies, 2)
    )


def _require_postgres() -> None:
    present = bool(POSTGRES_BINARIES or shutil.which("initdb")) and (os.geteuid() != 0 or _is_user("postgres"))
    require(
        "postgres", present=present, remedy="install PostgreSQL (Debian: postgresql), or set NIGHTSHIFT_TEST_POSTGRES"
    )


def _require_kafka() -> None:
    """What run.sh needs."""
    present = bool(shutil.which("java") and shutil.which("mvn"))
    require(
        "kafka", present=present, remedy="install Java 17 or newer and Maven (Debian: openjdk-17-jre-headless maven)"
    )


def free_port(count: int = 1) -> int:
    """The first of `count` consecutive ports that nobody listens on, with those 100 above them free too."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first: int = probe.getsockname()[1]
        wanted = [first + above + number for above in (0, 100) for number in range(count)]
        if max(wanted) < 65_536 and all(_is_free(port) for port in wanted):
            return first


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def _is_user(name: str) -> bool:
    return any(entry.pw_name == name for entry in pwd.getpwall())
