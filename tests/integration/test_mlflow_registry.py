"""The Registry contract on MLflow over SQLite and on the fake, then what only MLflow can do wrong."""

import json
import multiprocessing
import random
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.mlflow.client import connect
from connectors.mlflow.registry import MlflowRegistry
from loop.errors import IntegrityError, NotFoundError, UnreachableError, UsageError
from loop.hashing import adapter_sha256
from loop.ports import Ledger, Registry
from loop.promotion.ledger import Move, link
from loop.testing import MemoryLedger, MemoryRegistry
from loop.types import Action, Candidate, Snapshot
from tests.candidates import make_candidate


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables take seconds to make: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("mlflow")
    assert _mlflow(folder).alias("champion") is None
    return folder / "mlflow.db"


@pytest.fixture
def mlflow_registry(empty_database: Path, tmp_path: Path) -> MlflowRegistry:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    return _mlflow(tmp_path)


@pytest.fixture(params=["memory", "mlflow"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Registry:
    if request.param == "memory":
        return MemoryRegistry(tmp_path / "registry")
    return request.getfixturevalue("mlflow_registry")


def _mlflow(folder: Path, ledger: Ledger | None = None) -> MlflowRegistry:
    uri = f"sqlite:///{folder}/mlflow.db"
    return MlflowRegistry(uri, "assistant", folder / "versions", ledger or MemoryLedger())


def _register(registry: Registry, folder: Path, candidate_id: str) -> tuple[Candidate, int]:
    candidate = make_candidate(folder / candidate_id, candidate_id)
    return candidate, registry.register(candidate, folder / candidate_id, {"snapshot_id": "s1"})


def test_versions_count_from_one_and_carry_candidate_sha256_and_tags(registry: Registry, tmp_path: Path) -> None:
    made = [_register(registry, tmp_path, name) for name in ("a", "b")]
    assert [version for _, version in made] == [1, 2]
    found = registry.versions()
    assert [one.version for one in found] == [1, 2]
    assert [one.candidate_id for one in found] == ["a", "b"]
    assert [one.adapter_sha256 for one in found] == [candidate.adapter_sha256 for candidate, _ in made]
    assert [one.base_fingerprint for one in found] == ["base", "base"]
    assert found[0].tags["snapshot_id"] == "s1"


def test_a_candidate_registered_twice_keeps_its_first_version(registry: Registry, tmp_path: Path) -> None:
    candidate, version = _register(registry, tmp_path, "a")
    _register(registry, tmp_path, "b")
    assert registry.register(candidate, tmp_path / "a", {}) == version
    assert len(registry.versions()) == 2


def test_an_adapter_that_is_not_the_candidates_is_not_registered(registry: Registry, tmp_path: Path) -> None:
    candidate = make_candidate(tmp_path / "a", "a")
    (tmp_path / "a" / "adapter_model.safetensors").write_bytes(b"other weights")
    with pytest.raises(IntegrityError):
        registry.register(candidate, tmp_path / "a", {})
    assert registry.versions() == ()


def test_what_is_fetched_is_what_was_registered(registry: Registry, tmp_path: Path) -> None:
    candidate, version = _register(registry, tmp_path, "a")
    shutil.rmtree(tmp_path / "a")
    assert adapter_sha256(registry.fetch(version)) == candidate.adapter_sha256
    assert (registry.fetch(version) / "manifest.json").exists()


def test_an_unknown_version_is_not_found(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        registry.fetch(1)
    _register(registry, tmp_path, "a")
    with pytest.raises(NotFoundError):
        registry.set_alias("champion", 2)


def test_an_alias_is_set_moved_and_removed(registry: Registry, tmp_path: Path) -> None:
    for name in ("a", "b"):
        _register(registry, tmp_path, name)
    assert registry.alias("champion") is None
    for version in (1, 2, None, None):
        registry.set_alias("champion", version)
        assert registry.alias("champion") == version


def test_a_description_adds_tags_and_keeps_the_others(registry: Registry, tmp_path: Path) -> None:
    _register(registry, tmp_path, "a")
    registry.describe(1, "**PROMOTE**", {"verdict": "PROMOTE"})
    tags = registry.versions()[0].tags
    assert (tags["verdict"], tags["snapshot_id"]) == ("PROMOTE", "s1")


def test_a_candidate_has_one_run_with_settings_metrics_and_artifacts(
    mlflow_registry: MlflowRegistry, tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("<p>night</p>")
    many = {f"key{number}": number for number in range(150)}
    with mlflow_registry.run("a") as run:
        run.log_settings({"training": {"rank": 16, **many}})
        run.log_metrics({"loss": 0.7, "margin": 0.1}, 1)
    with mlflow_registry.run("a") as again:
        again.log_settings({"training": {"rank": 32}, "gate": {"alpha": 0.05}})
        again.log_metrics({"loss": 0.5}, 2)
        again.log_artifacts(tmp_path / "report.html", "report")
    assert again.run_id == run.run_id
    logged = run.client.get_run(run.run_id)
    assert logged.info.status == "FINISHED"
    assert (logged.data.params["training.rank"], logged.data.params["gate.alpha"]) == ("16", "0.05")
    assert logged.data.metrics == {"loss": 0.5, "margin": 0.1}
    assert [point.value for point in run.client.get_metric_history(run.run_id, "loss")] == [0.7, 0.5]
    assert [found.path for found in run.client.list_artifacts(run.run_id, "report")] == ["report/report.html"]


def test_a_run_that_ends_with_an_error_is_marked_failed(mlflow_registry: MlflowRegistry) -> None:
    with pytest.raises(KeyboardInterrupt), mlflow_registry.run("a") as run:
        raise KeyboardInterrupt
    assert run.client.get_run(run.run_id).info.status == "FAILED"


def test_a_run_is_named_tagged_and_described_and_lists_its_snapshot(
    mlflow_registry: MlflowRegistry, tmp_path: Path
) -> None:
    snapshot = Snapshot(
        snapshot_id="5" * 64,
        as_of=datetime(2026, 1, 2, tzinfo=UTC),
        counts={"train/pair": 7, "dev/pair": 2},
        curation={},
    )
    for _ in range(2):
        with mlflow_registry.run("a") as run:
            run.log_snapshot(snapshot, tmp_path / "snapshots")
            run.name("night-0007 · PROMOTE · v5", "Better.", {"night_id": "night-0007"})
    found = run.client.get_run(run.run_id)
    assert found.info.run_name == "night-0007 · PROMOTE · v5"
    assert (found.data.tags["night_id"], found.data.tags["mlflow.note.content"]) == ("night-0007", "Better.")
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("snapshot", "5" * 36)
    assert json.loads(used.dataset.profile) == {"num_rows": 9, "train/pair": 7, "dev/pair": 2}
    assert json.loads(used.dataset.source) == {"uri": (tmp_path / "snapshots").as_uri()}


def test_a_night_has_the_run_it_trained_in_and_without_a_training_one_of_its_own(
    mlflow_registry: MlflowRegistry,
) -> None:
    with mlflow_registry.run("job", night_id="night-0001") as training:
        pass
    with mlflow_registry.run("job") as judging:
        pass
    with mlflow_registry.night_run("night-0001") as trained:
        pass
    for _ in range(2):
        with mlflow_registry.night_run("night-0002") as skipped:
            pass
    with mlflow_registry.night_run("night-0003", failed=True) as failed:
        pass
    assert training.run_id == judging.run_id == trained.run_id
    runs = run_statuses(mlflow_registry)
    assert runs == {training.run_id: "FINISHED", skipped.run_id: "FINISHED", failed.run_id: "FAILED"}


def test_a_job_trained_again_by_another_night_leaves_the_first_nights_run_alone(
    mlflow_registry: MlflowRegistry,
) -> None:
    with pytest.raises(KeyboardInterrupt), mlflow_registry.run("job", night_id="night-0001") as first:
        raise KeyboardInterrupt
    with mlflow_registry.run("job", night_id="night-0002") as second:
        pass
    with mlflow_registry.run("job", night_id="night-0002") as resumed, mlflow_registry.run("job") as judging:
        pass
    assert second.run_id == resumed.run_id == judging.run_id != first.run_id
    assert run_statuses(mlflow_registry) == {first.run_id: "FAILED", second.run_id: "FINISHED"}


def test_a_training_begun_by_hand_becomes_the_nights_that_finishes_it(mlflow_registry: MlflowRegistry) -> None:
    with mlflow_registry.run("job") as by_hand:
        pass
    with mlflow_registry.run("job", night_id="night-0001"):
        pass
    with mlflow_registry.night_run("night-0001") as night:
        pass
    assert night.run_id == by_hand.run_id


def run_statuses(registry: MlflowRegistry) -> dict[str, str]:
    client = connect(registry.uri)
    experiment = client.get_experiment_by_name(registry.model)
    return {found.info.run_id: found.info.status for found in client.search_runs([experiment.experiment_id])}


def test_the_experiment_says_of_what_kind_it_is_and_a_persons_choice_stands(mlflow_registry: MlflowRegistry) -> None:
    client = connect(mlflow_registry.uri)
    made = client.create_experiment("assistant", tags={"mlflow.note.content": "mine"})
    with mlflow_registry.run("a"):
        pass
    tags = client.get_experiment(made).tags
    assert (tags["mlflow.experimentKind"], tags["mlflow.note.content"]) == ("custom_model_development", "mine")


def test_the_first_home_that_writes_has_the_model_and_another_ledgers_home_changes_nothing(
    mlflow_registry: MlflowRegistry, tmp_path: Path
) -> None:
    candidate, version = _register(mlflow_registry, tmp_path, "a")
    mlflow_registry.set_alias("champion", version)
    other = _mlflow(tmp_path)
    writes: list[Callable[[], object]] = [
        lambda: other.run("job-b").__enter__(),
        lambda: other.night_run("night-0001").__enter__(),
        lambda: _register(other, tmp_path, "b"),
        lambda: other.describe(1, "mine", {}),
        lambda: other.set_alias("champion", None),
        other.require_own,
    ]
    for write in writes:
        with pytest.raises(UsageError, match="belongs to the ledger") as refused:
            write()
        assert "set another `name` under [model]" in refused.value.remedy
    assert other.alias("champion") == version
    assert [found.candidate_id for found in other.versions()] == [candidate.candidate_id]
    assert len(run_statuses(mlflow_registry)) == 1
    again = _mlflow(tmp_path, mlflow_registry.ledger)
    again.require_own()
    assert _register(again, tmp_path / "again", "b")[1] == 2


@pytest.mark.usefixtures("mlflow_registry")
def test_of_homes_that_begin_at_once_one_has_the_model(tmp_path: Path) -> None:
    homes = [_mlflow(tmp_path) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(_told, homes))
    assert sorted(map(bool, told)) == [False, True, True, True]


def _told(home: MlflowRegistry) -> str:
    try:
        with home.night_run("night-0001"):
            pass
    except UsageError as refused:
        return refused.what
    return ""


def test_a_model_from_before_owners_is_claimed_by_the_ledger_whose_champions_it_shows(
    mlflow_registry: MlflowRegistry, tmp_path: Path
) -> None:
    candidate, version = _register(mlflow_registry, tmp_path, "a")
    mlflow_registry.set_alias("champion", version)
    connect(mlflow_registry.uri).delete_registered_model_tag("assistant", "nightshift.ledger_id")
    own, altered = _promoted(candidate.adapter_sha256), _promoted("0" * 64)
    for stranger in (MemoryLedger(), altered):
        with pytest.raises(IntegrityError, match="another home's ledger did"):
            _mlflow(tmp_path, stranger).set_alias("champion", None)
    _mlflow(tmp_path, own).describe(version, "still mine", {})
    with pytest.raises(UsageError, match="belongs to the ledger"):
        _mlflow(tmp_path).describe(version, "mine", {})
    assert mlflow_registry.alias("champion") == version


def _promoted(sha256: str) -> MemoryLedger:
    ledger = MemoryLedger()
    first = link(
        None,
        Move(
            action=Action.PROMOTE,
            model="assistant",
            from_version=0,
            to_version=1,
            adapter_sha256=sha256,
            decision_id=None,
            actor="ann",
            reason="better",
            recorded_at=datetime(2026, 1, 2, tzinfo=UTC),
        ),
    )
    ledger.append(first)
    return ledger


def test_artifacts_lie_beside_the_database_and_nothing_is_pickled(
    mlflow_registry: MlflowRegistry, tmp_path: Path
) -> None:
    _register(mlflow_registry, tmp_path, "a")
    stored = sorted(path.name for path in (tmp_path / "mlflow-artifacts").rglob("*") if path.is_file())
    assert stored == ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]


def test_an_adapter_altered_in_the_registry_is_refused(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    _register(mlflow_registry, tmp_path, "a")
    next((tmp_path / "mlflow-artifacts").rglob("*.safetensors")).write_bytes(b"other weights")
    with pytest.raises(IntegrityError, match="assistant@1 in the registry"):
        mlflow_registry.fetch(1)
    assert not (tmp_path / "versions" / "1").exists()


def test_a_fetched_copy_that_was_altered_is_fetched_again(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    candidate, _ = _register(mlflow_registry, tmp_path, "a")
    (mlflow_registry.fetch(1) / "adapter_model.safetensors").write_bytes(b"other weights")
    assert adapter_sha256(mlflow_registry.fetch(1)) == candidate.adapter_sha256


def test_versions_registered_by_hand_are_not_ours(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    _register(mlflow_registry, tmp_path, "a")
    with mlflow_registry.run("b") as run:
        run.client.create_model_version("assistant", f"runs:/{run.run_id}/elsewhere", run.run_id)
    assert [found.version for found in mlflow_registry.versions()] == [1]
    with pytest.raises(IntegrityError, match="has no recorded sha256"):
        mlflow_registry.fetch(2)


def test_deleting_the_champion_drops_its_alias_silently(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    _register(mlflow_registry, tmp_path, "a")
    mlflow_registry.set_alias("champion", 1)
    with mlflow_registry.run("a") as run:
        run.client.delete_model_version("assistant", "1")
    assert mlflow_registry.alias("champion") is None


def test_versions_come_in_the_order_of_their_numbers(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    _register(mlflow_registry, tmp_path, "a")
    with mlflow_registry.run("a") as run:
        for number in range(2, 13):
            tags = {"candidate_id": f"c{number}", "adapter_sha256": "0" * 64}
            run.client.create_model_version("assistant", f"runs:/{run.run_id}/adapter", run.run_id, tags=tags)
    mlflow_registry.set_alias("champion", 12)
    assert [found.version for found in mlflow_registry.versions()] == list(range(1, 13))
    assert mlflow_registry.alias("champion") == 12


def test_a_server_that_is_not_there_is_unreachable_within_seconds(tmp_path: Path) -> None:
    registry = MlflowRegistry("http://127.0.0.1:9", "assistant", tmp_path, MemoryLedger())
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:9"):
        registry.alias("champion")
    assert time.monotonic() - began < 10


def test_a_password_in_the_address_is_not_printed(tmp_path: Path) -> None:
    registry = MlflowRegistry("http://ann:hunter2@127.0.0.1:9", "assistant", tmp_path, MemoryLedger())
    with pytest.raises(UnreachableError) as refused:
        registry.versions()
    assert "hunter2" not in str(refused.value)
    assert "127.0.0.1:9" in str(refused.value)


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database at all" * 500)
    with pytest.raises(IntegrityError, match="backup"):
        _mlflow(tmp_path).versions()


def test_files_that_are_gone_are_a_fault_that_names_them(mlflow_registry: MlflowRegistry, tmp_path: Path) -> None:
    _, version = _register(mlflow_registry, tmp_path, "a")
    shutil.rmtree(tmp_path / "mlflow-artifacts")
    with pytest.raises(IntegrityError, match="not where the registry says"):
        mlflow_registry.fetch(version)


def test_an_address_that_is_no_registry_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no address of an MLflow registry"):
        MlflowRegistry("mlruns", "assistant", tmp_path, MemoryLedger()).alias("champion")


def test_mlflow_is_imported_by_the_first_call_and_prints_nothing(empty_database: Path, tmp_path: Path) -> None:
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    (tmp_path / "versions.txt").write_text("1")
    program = (
        "import sys; from pathlib import Path; from connectors.mlflow.registry import MlflowRegistry\n"
        "from loop.testing import MemoryLedger\n"
        f"uri, folder = 'sqlite:///{tmp_path}/mlflow.db', Path('{tmp_path}/versions')\n"
        "registry = MlflowRegistry(uri, 'assistant', folder, MemoryLedger())\n"
        "assert 'mlflow' not in sys.modules; registry.alias('champion')\n"
        "import logging; assert logging.getLogger('mlflow').level == logging.WARNING\n"
        "from mlflow.telemetry import get_telemetry_client; assert get_telemetry_client() is None\n"
        f"with registry.run('a') as run: run.log_artifacts(Path('{tmp_path}/versions.txt'), 'adapter')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_process_killed_while_mlflow_makes_its_tables_leaves_no_half_made_database(tmp_path: Path) -> None:
    connect(f"sqlite:///{tmp_path / 'first.db'}")  # what is imported here need not be imported by every child
    file = tmp_path / "home" / "mlflow.db"
    begun = 0
    for _ in range(5):
        child = multiprocessing.get_context("fork").Process(target=connect, args=(f"sqlite:///{file}",))
        child.start()
        while not any(made.stat().st_size for made in file.parent.glob(".mlflow-*/made.db")) and child.is_alive():
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.2))
        child.kill()
        child.join()
        begun += not file.exists()

    assert begun > 0
    assert connect(f"sqlite:///{file}").search_experiments()[0].name == "Default"


def test_an_older_schema_is_refused_with_the_command_that_upgrades_it(tmp_path: Path, empty_database: Path) -> None:
    old = tmp_path / "mlflow.db"
    shutil.copy(empty_database, old)
    with closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    with pytest.raises(UnreachableError) as refused:
        _mlflow(tmp_path).versions()
    assert f"mlflow db upgrade sqlite:///{old}" in refused.value.remedy
