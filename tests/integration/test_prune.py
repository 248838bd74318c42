"""prune removes what nothing needs and nothing else; a rollback, a night and an open night go on after it."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from connectors.sql.ledger import SqlLedger
from connectors.sql.store import SqlStore
from loop.nights import prune
from loop.types import Outputs
from tests.homes import unpack_for_today
from tests.project import nightshift

SEED = ("--set", "training.seed=2")
"""Of the night that the home's last user has left open."""
LONG_AGO = 1_000_000_000
STRAYS = (
    "candidates/0123456789abcdef/adapter_model.safetensors",
    "candidates/.abc-0123456789ab.part/adapter_model.safetensors",
    "jobs/0123456789abcdef/checkpoint.pt",
    f"snapshots/{'0' * 64}/train.parquet",
    f"data_docs/{'0' * 64}/index.html",
    "cache/reference/0123456789abcdef.json",
    f"cache/answers/{'0' * 64}.json",
    "versions/2/adapter_model.safetensors",
    "versions/9/adapter_model.safetensors",
)
"""What a night long ago has left: no row knows it, but for the download of version 2, which was rolled back."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Four nights: @1 promoted and approved, @2 promoted and rolled back, one skipped, one left open."""
    unpack_for_today("0.1.0", tmp_path)
    kept = tmp_path / ".nightshift"
    for name in STRAYS:
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        (kept / name).write_bytes(b"x" * 1000)
    for path in kept.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return tmp_path


def told(*arguments: str, folder: Path, codes: tuple[int, ...] = (0,)):
    done = nightshift("--json", *arguments, folder=folder)
    assert done.returncode in codes, done.stderr
    return json.loads(done.stdout)


def files(folder: Path) -> set[str]:
    home = folder / ".nightshift"
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and ".db" not in path.name}


def needed(folder: Path) -> dict[str, str]:
    """Candidates by their night."""
    nights = told("nights", folder=folder)["nights"]
    return {night["night_id"]: night["outputs"].get("train", "") for night in nights}


def test_a_dry_run_says_what_would_go_and_removes_nothing(project: Path) -> None:
    before = files(project)
    found = told("prune", "--keep", "1", "--dry-run", folder=project)
    assert files(project) == before
    assert not found["removed"]
    gone = {f"{each['folder']}/{each['name']}" for each in found["found"]}
    assert {"candidates/0123456789abcdef", f"snapshots/{'0' * 64}", "versions/2", "versions/9"} <= gone
    assert "cache/reference/0123456789abcdef.json" in gone
    assert found["bytes"] == sum(each["bytes"] for each in found["found"])


def test_nothing_that_a_ledger_row_or_an_open_night_needs_goes(project: Path) -> None:
    candidates, before = needed(project), files(project)
    done = nightshift("prune", "--keep", "1", folder=project)
    assert done.returncode == 0, done.stderr
    assert "MB" in done.stdout
    after = files(project)
    assert not {name for name in STRAYS if "jobs/" not in name} & after
    assert STRAYS[2] in after, "an open night may go on with a training that has not ended"
    for candidate in candidates.values():
        mine = {name for name in before if name.startswith(f"candidates/{candidate}/")}
        assert mine <= after
    snapshots = {name for name in before if name.startswith("snapshots/") and "0" * 64 not in name}
    assert snapshots
    assert snapshots <= after
    assert {name for name in before if name.startswith(("nights/", "mlflow-artifacts/"))} <= after
    assert told("prune", "--keep", "1", folder=project)["found"] == []


def test_after_a_prune_the_open_night_ends_and_every_champion_can_be_returned_to(project: Path) -> None:
    told("prune", "--keep", "1", folder=project)
    ended = told(*SEED, "run", folder=project, codes=(0, 3))
    assert (ended["night_id"], ended["status"]) == ("night-0004", "done")
    told("prune", "--keep", "1", folder=project)
    assert told("promote", "2", "--force", "--reason", "tried", folder=project)["to"] == 2
    assert told("rollback", folder=project)["to"] == 1
    assert told("rollback", folder=project)["to"] == 0


def test_a_night_after_a_prune_trains_judges_and_reports(project: Path) -> None:
    told(*SEED, "run", folder=project, codes=(0, 3))
    told("prune", "--keep", "1", folder=project)
    night = told("--set", "training.seed=3", "run", "--as-of", "2026-01-04", folder=project, codes=(0, 3))
    assert (night["night_id"], night["status"]) == ("night-0005", "done")
    assert Path(project / str(night["outputs"]["report"])).exists()


def test_a_candidate_that_was_pruned_is_named_with_what_brings_it_back(project: Path) -> None:
    rejected = needed(project)["night-0004"]
    shutil.rmtree(project / ".nightshift" / "candidates" / rejected)
    refused = nightshift("evaluate", rejected, folder=project)
    assert refused.returncode == 2
    assert "pruned or removed" in refused.stderr
    assert "nightshift train" in refused.stderr


def test_a_night_that_is_closed_and_old_loses_what_only_it_needed(project: Path) -> None:
    home = project / ".nightshift"
    store, ledger = SqlStore(f"sqlite:///{home}/store.db"), SqlLedger(f"sqlite:///{home}/ledger.db")
    nights = store.nights()
    last = nights[-1]
    store.save_night(replace(last, finished_at=last.started_at))
    newest = replace(last, night_id="night-0005", outputs=Outputs(), started_at=last.started_at)
    store.save_night(replace(newest, finished_at=last.started_at))
    lost = prune.unneeded(home, store, ledger, keep=1)
    assert last.outputs.candidate_id in {each.path.name for each in lost}
    assert {each.path.name for each in lost}.isdisjoint({night.outputs.candidate_id for night in nights[:2]})
    store.close()
    ledger.close()


def test_a_prune_that_was_killed_is_ended_by_the_next(project: Path) -> None:
    doomed = project / ".nightshift" / "candidates" / ".pruned-0123456789abcdef"
    doomed.mkdir()
    (doomed / "half").touch()
    found = told("prune", "--keep", "1", folder=project)["found"]
    assert ".pruned-0123456789abcdef" in {each["name"] for each in found}
    assert list((project / ".nightshift" / "candidates").glob(".pruned-*")) == []


def test_what_was_made_by_hand_since_the_oldest_kept_night_stays(project: Path) -> None:
    fresh = project / ".nightshift" / "snapshots" / ("1" * 64)
    fresh.mkdir()
    (fresh / "manifest.json").touch()
    told("prune", "--keep", "1", folder=project)
    assert fresh.exists()


def test_no_night_runs_while_a_prune_does(project: Path) -> None:
    store = SqlStore(f"sqlite:///{project}/.nightshift/store.db")
    with store.lease("night", 60):
        refused = nightshift("prune", "--keep", "1", folder=project)
        assert nightshift("prune", "--keep", "1", "--dry-run", folder=project).returncode == 0
    store.close()
    assert refused.returncode == 1
    assert "the lease 'night' is held" in refused.stderr
    assert STRAYS[0] in files(project)


def test_before_the_first_night_nothing_is_removed(tmp_path: Path) -> None:
    (tmp_path / "nightshift.toml").touch()
    (tmp_path / ".nightshift" / "snapshots" / "made").mkdir(parents=True)
    assert told("prune", "--keep", "1", folder=tmp_path)["found"] == []
