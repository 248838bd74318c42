"""The systemd units: valid, sandboxed, and true to the program's commands, variables and exit codes."""

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from loop.errors import UsageError
from tests.infra import INFRA, refused, unread
from tests.services import require

UNITS = sorted(path.name for path in (INFRA / "systemd").glob("nightshift-*.*"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
EXPOSED = 20
"""Of systemd's 100: what may remain open to a service that talks to databases and brokers."""


def unit(name: str) -> ConfigParser:
    found = ConfigParser(strict=False, interpolation=None)
    found.optionxform = str
    found.read(INFRA / "systemd" / name)
    return found


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units in one folder, with a program that exists."""
    require("systemd", present=shutil.which("systemd-analyze") is not None, remedy="install systemd")
    for name in UNITS:
        text = (INFRA / "systemd" / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/nightshift/bin/nightshift", sys.executable))
    return tmp_path


def analyze(*arguments: object) -> str:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else done.stderr


@pytest.mark.parametrize("name", UNITS)
def test_every_unit_is_understood(name: str, installed: Path) -> None:
    assert analyze("verify", installed / name) == ""


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_in_a_sandbox(name: str, installed: Path) -> None:
    assert analyze("security", "--offline=true", f"--threshold={EXPOSED}", installed / name) == ""


@pytest.mark.parametrize("name", SERVICES)
def test_the_program_knows_the_command_and_keeps_its_files_where_it_may_write(name: str) -> None:
    service = unit(name)["Service"]
    assert refused(service["ExecStart"].split()) == ""
    assert "--config /etc/nightshift/nightshift.toml" in service["ExecStart"]
    assert "NIGHTSHIFT_HOME=/var/lib/nightshift" in service["Environment"].split()
    assert service["StateDirectory"] == "nightshift"
    assert service["User"] == "nightshift"


def test_the_example_of_the_environment_names_only_what_the_program_reads() -> None:
    lines = (INFRA / "systemd" / "nightshift.env.example").read_text().splitlines()
    assert unread(dict(line.split("=", 1) for line in lines if not line.startswith("#"))) == []


def test_a_night_that_promotes_nothing_is_a_success_and_faults_are_not_repeated() -> None:
    service = unit("nightshift-night.service")["Service"]
    assert service["SuccessExitStatus"] == "3"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "1 2")


@pytest.mark.parametrize("name", SERVICES)
def test_wrong_usage_such_as_a_wrong_folder_is_never_a_success(name: str) -> None:
    service = unit(name)["Service"]
    assert str(UsageError.exit_code) not in service.get("SuccessExitStatus", "").split()
    assert str(UsageError.exit_code) in service["RestartPreventExitStatus"].split()


def test_the_timer_starts_the_night_every_night_and_makes_up_for_one_that_was_slept_through() -> None:
    timer = unit("nightshift-night.timer")["Timer"]
    assert timer["Persistent"] == "yes"
    assert timer["OnCalendar"] == "*-*-* 02:00:00 UTC"
    assert timer.get("Unit", "nightshift-night.service") == "nightshift-night.service"
