"""A night that is killed at any stage goes on where it stopped: nothing is repeated, lost or doubled."""

import json
import sqlite3
from pathlib import Path

from loop.types import Stage
from tests.project import AS_OF, killed_at, nightshift, stages_started


def rows(folder: Path, database: str, table: str) -> int:
    with sqlite3.connect(folder / ".nightshift" / database) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608


def stages_finished(folder: Path) -> list[str]:
    """Of the only night: a short stage may end between its first word and the kill."""
    with sqlite3.connect(folder / ".nightshift" / "store.db") as connection:
        [[outputs]] = connection.execute("SELECT outputs FROM night")
    return [*json.loads(outputs)]


def test_a_night_killed_in_every_stage_ends_without_repeating_a_finished_one(project):
    finished: list[str] = []
    for stage in Stage:
        began = killed_at(stage, "run", "--as-of", AS_OF, folder=project)
        assert began == list(Stage)[len(finished) : list(Stage).index(stage) + 1]
        assert stages_finished(project)[: len(finished)] == finished
        finished = stages_finished(project)
    ended = nightshift("-v", "run", "--as-of", AS_OF, folder=project)
    assert ended.returncode in {0, 3}, ended.stderr
    assert stages_started(ended.stderr) == list(Stage)[len(finished) :]
    assert stages_finished(project) == list(Stage)
    assert (rows(project, "store.db", "interaction"), rows(project, "store.db", "feedback")) == (60, 60)
    assert rows(project, "store.db", "candidate") == 1
    assert rows(project, "mlflow.db", "model_versions") == 1
    assert rows(project, "mlflow.db", "latest_metrics WHERE key = 'ended/skipped'") == 1
    assert rows(project, "ledger.db", "promotion") == (1 if ended.returncode == 0 else 0)
