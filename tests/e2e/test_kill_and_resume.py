"""A night that is killed at any stage goes on where it stopped: nothing is repeated, lost or doubled."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from loop.types import Stage
from tests.project import AS_OF, killed_at, make_project, nightshift, stages_started


@pytest.fixture(scope="module")
def imported(tmp_path_factory) -> Path:
    """A project with its events captured and its registry's tables made, which takes MLflow a while."""
    folder = make_project(tmp_path_factory.mktemp("project"))
    for arguments in (("import", "events.jsonl"), ("reconcile",)):
        done = nightshift(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


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
    before = killed_at(stage, "run", "--as-of", AS_OF, folder=folder)
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
