"""A night that is killed at any stage goes on where it stopped: nothing is repeated, lost or doubled."""

import json
import re
import shutil
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from loop.types import Stage
from tests.project import AS_OF, command, environment, make_project, nightshift

STARTED = re.compile(r"night-0001: (\w+)$")


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """A project with its events captured and its registry's tables made, which takes MLflow a while."""
    folder = make_project(tmp_path_factory.mktemp("project"))
    for arguments in (("import", "events.jsonl"), ("reconcile",)):
        done = nightshift(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


def stages_started(log: str) -> list[str]:
    return [found[1] for line in log.splitlines() if (found := STARTED.search(line))]


def run_until(stage: Stage, folder: Path) -> list[str]:
    """Run a night and SIGKILL it as soon as it says that `stage` began; returns the stages that began."""
    arguments = command("-v", "run", "--as-of", AS_OF)
    seen: list[str] = []
    with subprocess.Popen(arguments, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True) as night:
        for line in night.stderr:
            seen += stages_started(line)
            if seen and seen[-1] == stage:
                night.send_signal(signal.SIGKILL)
                break
        night.stderr.read()
    assert night.returncode == -signal.SIGKILL
    return seen


def rows(folder: Path, database: str, table: str) -> int:
    with sqlite3.connect(folder / ".nightshift" / database) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608


def stages_finished(folder: Path) -> list[str]:
    """Of the only night: a short stage may end between its first word and the kill."""
    with sqlite3.connect(folder / ".nightshift" / "store.db") as connection:
        [[outputs]] = connection.execute("SELECT outputs FROM night")
    return [*json.loads(outputs)]


@pytest.mark.parametrize("stage", list(Stage))
def test_a_night_killed_in_a_stage_ends_without_repeating_the_finished_ones(imported, tmp_path, stage):
    folder = shutil.copytree(imported, tmp_path / "project")
    before = run_until(stage, folder)
    finished = stages_finished(folder)
    resumed = nightshift("-v", "run", "--as-of", AS_OF, folder=folder)
    assert resumed.returncode in {0, 3}, resumed.stderr
    assert before[:-1] == finished[: len(before) - 1]
    assert stages_started(resumed.stderr) == list(Stage)[len(finished) :]
    assert before == list(Stage)[: list(Stage).index(stage) + 1]
    assert (rows(folder, "store.db", "interaction"), rows(folder, "store.db", "feedback")) == (60, 60)
    assert rows(folder, "store.db", "candidate") == 1
    assert rows(folder, "mlflow.db", "model_versions") == 1
    assert rows(folder, "mlflow.db", "latest_metrics WHERE key = 'ended/skipped'") == 1
    assert rows(folder, "ledger.db", "promotion") == (1 if resumed.returncode == 0 else 0)
