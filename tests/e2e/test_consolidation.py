"""A night of consolidation begins at the base model, and what it makes is still judged against the champion."""

import json
import sqlite3
from pathlib import Path

from tests.project import AS_OF, make_project, nightshift


def run(folder: Path, *arguments: str) -> None:
    done = nightshift(*arguments, folder=folder)
    assert done.returncode in {0, 3}, done.stderr


def test_a_candidate_from_the_base_is_compared_with_the_champion(tmp_path):
    folder = make_project(tmp_path)
    run(folder, "import", "events.jsonl")
    run(folder, "--set", "gate.promote=false", "run", "--as-of", AS_OF)
    run(folder, "promote", "1", "--force", "--reason", "a champion to be judged against")
    run(folder, "--set", "training.consolidate_every=2", "--set", "training.seed=1", "run", "--as-of", AS_OF)
    with sqlite3.connect(folder / ".nightshift" / "store.db") as store:
        trained = "SELECT parent_version, parent_sha256, adapter_sha256 FROM candidate ORDER BY rowid"
        judged = "SELECT champion_version, champion_sha256, candidate_sha256 FROM evidence ORDER BY rowid"
        (*_, first), (*second_from, second) = store.execute(trained)
        _, compared = store.execute(judged)
    assert second_from == [0, None]
    assert compared == (1, first, second)


def test_bytes_that_were_judged_before_are_not_judged_again(tmp_path):
    folder = make_project(tmp_path)
    run(folder, "import", "events.jsonl")
    run(folder, "--set", "gate.promote=false", "run", "--as-of", AS_OF)
    other_job = ("--set", "training.budget_minutes=600")
    again = nightshift("--json", *other_job, "run", "--as-of", AS_OF, folder=folder)
    assert again.returncode == 3, again.stderr
    assert "came to the bytes of candidate" in again.stdout
    assert json.loads(again.stdout)["status"] == "skipped"
