"""A home that earlier code made goes on under this one: nothing it promised is lost."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from connectors.sql.store import SqlStore
from loop.settings.migrate import migrated as today
from loop.types import Stage, Without
from tests.homes import NAMES, SEED, unpack
from tests.project import nightshift


@pytest.fixture(params=NAMES)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return unpack(request.param, tmp_path)


def stored_outputs(file: Path) -> list[dict[str, str]]:
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT outputs FROM night ORDER BY started_at").fetchall()
    return [json.loads(outputs) for (outputs,) in rows]


def answered(*arguments: str, folder: Path, codes: tuple[int, ...] = (0,)) -> dict[str, object]:
    done = nightshift("--json", *arguments, folder=folder)
    assert done.returncode in codes, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_nights_are_read_by_name_and_written_back_as_they_were(home: Path) -> None:
    file = home / ".nightshift" / "store.db"
    before = stored_outputs(file)
    store = SqlStore(f"sqlite:///{file}")
    nights = store.nights()
    assert [night.outputs.version for night in nights] == [1, 2, None, 3]
    assert [night.outputs.entry_hash for night in nights] == [Without.PROMOTION, Without.PROMOTION, None, None]
    assert nights[-1].next_stage is Stage.DECIDE
    for night in nights:
        store.save_night(night)
    store.close()
    assert stored_outputs(file) == before


def migrated(home: Path) -> Path:
    """The home, whose settings file stops a night until it has today's keys."""
    if not today((home / "nightshift.toml").read_text()).older:
        return home
    refused = nightshift(*SEED, "run", folder=home)
    assert refused.returncode == 2, refused.stderr
    assert "nightshift init --migrate" in refused.stderr
    assert nightshift("init", "--migrate", folder=home).returncode == 0
    return home


def test_the_ledger_verifies_and_the_champion_answers_and_is_rolled_back(home: Path) -> None:
    """Under the settings of its time, as at night after an upgrade."""
    rows = answered("history", folder=home)["history"]
    assert [(row["action"], row["to_version"]) for row in rows] == [
        ("promote", 1),
        ("anchor", 1),
        ("promote", 2),
        ("rollback", 1),
    ]
    assert answered("status", folder=home)["champion"] == 1
    assert answered("ask", "--max-tokens", "4", "Where is my order?", folder=home)["model"] == "assistant@1"
    assert answered("rollback", "--reason", "tried", folder=home)["to"] == 0
    assert answered("promote", "2", "--force", "--reason", "tried", folder=home)["to"] == 2


def test_the_night_that_was_left_open_after_its_evaluation_ends(home: Path) -> None:
    ended = answered(*SEED, "run", folder=migrated(home), codes=(0, 3))
    assert ended["night_id"] == "night-0004"
    assert ended["status"] == "done"
    assert ended["verdict"] == "REJECT"
    assert Path(home / str(ended["outputs"]["report"])).exists()
    decisions = answered("nights", folder=home)["nights"]
    assert [night["status"] for night in decisions] == ["done", "done", "skipped", "done"]


def test_the_night_that_was_left_open_before_its_training_trains_and_ends(home: Path) -> None:
    kept = home / ".nightshift"
    (kept / "store-untrained.db").replace(kept / "store.db")
    ended = answered(*SEED, "run", folder=migrated(home), codes=(0, 3))
    assert ended["night_id"] == "night-0004"
    assert ended["status"] == "done"
    assert (kept / "candidates" / str(ended["outputs"]["train"]) / "adapter_model.safetensors").exists()
