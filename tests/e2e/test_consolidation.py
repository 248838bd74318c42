"""A night of consolidation begins at the base model, and what it makes is still judged against the champion."""

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.project import AS_OF, nightshift


def run(folder: Path, *arguments: str) -> None:
    done = nightshift(*arguments, folder=folder)
    assert done.returncode in {0, 3}, done.stderr


@pytest.fixture(scope="module")
def night(captured, tmp_path_factory) -> Path:
    """A project after its first night, whose candidate was registered and not promoted."""
    folder = shutil.copytree(captured, tmp_path_factory.mktemp("night") / "project")
    run(folder, "--set", "gate.promote=false", "run", "--as-of", AS_OF)
    return folder


def test_a_candidate_from_the_base_is_compared_with_the_champion(night, tmp_path):
    folder = shutil.copytree(night, tmp_path / "project")
    run(folder, "promote", "1", "--force", "--reason", "a champion to be judged against")
    run(folder, "--set", "training.consolidate_every=2", "--set", "training.seed=1", "run", "--as-of", AS_OF)
    with sqlite3.connect(folder / ".nightshift" / "store.db") as store:
        trained = "SELECT parent_version, parent_sha256, adapter_sha256 FROM candidate ORDER BY rowid"
        judged = "SELECT champion_version, champion_sha256, candidate_sha256 FROM evidence ORDER BY rowid"
        (*_, first), (*second_from, second) = store.execute(trained)
        _, compared = store.execute(judged)
    assert second_from == [0, None]
    assert compared == (1, first, second)


def test_bytes_that_were_judged_before_are_not_judged_again(night, tmp_path):
    folder = shutil.copytree(night, tmp_path / "project")
    other_job = ("--set", "training.budget_minutes=600")
    again = nightshift("--json", *other_job, "run", "--as-of", AS_OF, folder=folder)
    assert again.returncode == 3, again.stderr
    assert "came to the bytes of candidate" in again.stdout
    assert json.loads(again.stdout)["status"] == "skipped"
