"""The MLflow server of compose.yaml on this machine: its very command and environment, on a real PostgreSQL and S3."""

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.infra import BIN, INFRA, compose, filled
from tests.services import ROOT, free_port, postgres, require

SECRETS = {
    "POSTGRES_PASSWORD": "elephant",
    "STORE_PASSWORD": 'it\'s a "secret" \\ password',
    "REGISTRY_PASSWORD": "another",
    "S3_ACCESS_KEY": "name",
    "S3_SECRET_KEY": "key",
}
JARS = ROOT / ".nightshift" / "s3proxy"
PATIENCE = 180


def make_databases() -> str:
    """Runs compose.yaml's first-start script on the tests' PostgreSQL; returns host:port."""
    server = postgres()
    environment = {
        **os.environ,
        **{name: filled(text, SECRETS) for name, text in compose()["services"]["postgres"]["environment"].items()},
        "POSTGRES_USER": "postgres",  # the image's own default
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
    }
    subprocess.run(["sh", INFRA / "postgres" / "roles.sh"], env=environment, check=True)
    return f"127.0.0.1:{server.port}"


@contextmanager
def s3(folder: Path) -> Iterator[str]:
    """The S3 of compose.yaml with its bucket in `folder`; yields its address."""
    service = compose()["services"]["s3"]
    version = service["image"].partition(":")[2]
    (folder / "mlflow").mkdir(parents=True)
    address = f"http://127.0.0.1:{free_port()}"
    settings = {name: filled(text, SECRETS) for name, text in service["environment"].items()}
    settings |= {"S3PROXY_ENDPOINT": address, "JCLOUDS_FILESYSTEM_BASEDIR": str(folder)}
    # The image's start script makes properties of its variables in the same way.
    properties = [f"{name.lower().replace('_', '.')}={text}" for name, text in settings.items()]
    (folder.parent / "s3.properties").write_text("\n".join(properties))
    command = ["java", "-Xmx192m", "-jar", _s3proxy(version), "--properties", folder.parent / "s3.properties"]
    with running(command, {**os.environ, "LOG_LEVEL": "warn"}, folder.parent, f"{address}/healthz"):
        yield address


@contextmanager
def mlflow(folder: Path, database: str, bucket: str) -> Iterator[str]:
    """The server with `folder`/work and `folder`/home as the folders it must not write to; yields its address."""
    service = compose()["services"]["mlflow"]
    port = str(free_port())
    moved = {"postgres/": f"{database}/", "http://s3:8080": bucket, "0.0.0.0": "127.0.0.1", "5000": port}  # noqa: S104
    for name in ("work", "home"):
        (folder / name).mkdir()
    _, *arguments = [_replaced(text, moved) for text in service["command"]]
    environment = {name: _replaced(filled(text, SECRETS), moved) for name, text in service["environment"].items()}
    environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder / "home")}
    with running([BIN / "mlflow", *arguments], environment, folder / "work", f"http://127.0.0.1:{port}/health"):
        yield f"http://localhost:{port}"


def status(address: str, headers: Mapping[str, str], body: bytes = b"{}") -> tuple[int, str]:
    """What the server answers to a POST."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", **headers}, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def _s3proxy(version: str) -> Path:
    present = bool(shutil.which("java") and shutil.which("mvn"))
    require("s3", present=present, remedy="install Java 17 or newer and Maven (Debian: openjdk-17-jre-headless maven)")
    jar = JARS / f"s3proxy-{version}-jar-with-dependencies.jar"
    if not jar.exists():
        artifact = f"org.gaul:s3proxy:{version}:jar:jar-with-dependencies"
        goal = ["dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={JARS}"]
        subprocess.run(["mvn", "--quiet", "--batch-mode", "--file", INFRA / "kafka" / "pom.xml", *goal], check=True)
    return jar


@contextmanager
def running(command: list[object], environment: Mapping[str, str], folder: Path, health: str) -> Iterator[None]:
    """From its first healthy answer until the block ends; what it says lies beside `folder`."""
    log = folder.parent / f"{Path(str(command[0])).name}.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            list(map(str, command)), env=environment, cwd=folder, stdout=said, stderr=said, start_new_session=True
        )
    try:
        _await(process, health, log)
        yield
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _await(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            urllib.request.urlopen(health, timeout=5).close()  # noqa: S310
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        else:
            return


def _replaced(text: str, replacements: Mapping[str, str]) -> str:
    pattern = "|".join(map(re.escape, replacements))
    return re.sub(pattern, lambda found: replacements[found[0]], text)
