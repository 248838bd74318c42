"""A night that is killed in each of its stages goes on where it stopped: nothing is repeated, lost or doubled."""

import json
import re
import signal
import sqlite3
import subprocess
from pathlib import Path

import pytest

from loop.types import Stage
from tests.project import AS_OF, command, environment, make_project, nightshift

STARTED = re.compile(r"night-0001: (\w+)$")


@pytest.fixture
def imported(tmp_path) -> Path:
    """A project with its events captured and its registry's tables made, which takes MLflow a while."""
    folder = make_project(tmp_path)
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


def test_a_night_killed_in_every_stage_ends_without_repeating_the_finished_ones(imported):
    stages, finished = [*Stage], list[str]()
    for place, stage in enumerate(stages):
        if stage not in finished:
            assert run_until(stage, imported) == stages[len(finished) : place + 1]
            finished = stages_finished(imported)
            assert finished[:place] == stages[:place]
    resumed = nightshift("-v", "run", "--as-of", AS_OF, folder=imported)
    assert resumed.returncode in {0, 3}, resumed.stderr
    assert stages_started(resumed.stderr) == stages[len(finished) :]
    assert (rows(imported, "store.db", "interaction"), rows(imported, "store.db", "feedback")) == (60, 60)
    assert rows(imported, "store.db", "candidate") == 1
    assert rows(imported, "mlflow.db", "model_versions") == 1
    assert rows(imported, "mlflow.db", "latest_metrics WHERE key = 'ended/skipped'") == 1
    assert rows(imported, "ledger.db", "promotion") == (1 if resumed.returncode == 0 else 0)
