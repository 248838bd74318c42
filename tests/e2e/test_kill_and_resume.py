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


def test_a_night_killed_in_every_stage_ends_without_repeating_a_finished_one(imported, tmp_path):
    folder = shutil.copytree(imported, tmp_path / "project")
    finished: list[str] = []
    for stage in Stage:
        began = killed_at(stage, "run", "--as-of", AS_OF, folder=folder)
        assert began == list(Stage)[len(finished) : list(Stage).index(stage) + 1]
        assert stages_finished(folder)[: len(finished)] == finished
        finished = stages_finished(folder)
    ended = nightshift("-v", "run", "--as-of", AS_OF, folder=folder)
    assert ended.returncode in {0, 3}, ended.stderr
    assert stages_started(ended.stderr) == list(Stage)[len(finished) :]
    assert stages_finished(folder) == list(Stage)
    assert (rows(folder, "store.db", "interaction"), rows(folder, "store.db", "feedback")) == (60, 60)
    assert rows(folder, "store.db", "candidate") == 1
    assert rows(folder, "mlflow.db", "model_versions") == 1
    assert rows(folder, "mlflow.db", "latest_metrics WHERE key = 'ended/skipped'") == 1
    assert rows(folder, "ledger.db", "promotion") == (1 if ended.returncode == 0 else 0)
