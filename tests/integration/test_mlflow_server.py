"""The Registry contract over HTTP, on the hardened MLflow server that compose.yaml starts, with PostgreSQL and S3."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from connectors.mlflow.registry import MlflowRegistry
from connectors.sql.database import open_database
from loop.hashing import adapter_sha256
from loop.testing import MemoryLedger
from tests.candidates import make_candidate
from tests.integration.test_mlflow_registry import (  # noqa: F401 - they run here on this module's `registry`
    test_a_candidate_has_one_run_with_settings_metrics_and_artifacts,
    test_a_candidate_registered_twice_keeps_its_first_version,
    test_a_description_adds_tags_and_keeps_the_others,
    test_a_run_that_ends_with_an_error_is_marked_failed,
    test_an_adapter_that_is_not_the_candidates_is_not_registered,
    test_an_alias_is_set_moved_and_removed,
    test_an_unknown_version_is_not_found,
    test_versions_count_from_one_and_carry_candidate_sha256_and_tags,
    test_what_is_fetched_is_what_was_registered,
)
from tests.registry_server import make_databases, mlflow, s3, status

JOB = json.dumps({"job_name": "invoke_scorer", "params": {}}).encode()


@pytest.fixture(scope="module")
def databases() -> str:
    return make_databases()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(databases: str, folder: Path) -> Iterator[str]:
    with s3(folder / "objects") as bucket, mlflow(folder, databases, bucket) as address:
        yield address


@pytest.fixture
def mlflow_registry(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowRegistry:
    """Able to reach no other server than MLflow, as the night of compose.yaml."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", server.removeprefix("http://"))
    return MlflowRegistry(server, f"assistant-{uuid.uuid4().hex}", tmp_path / "versions", MemoryLedger())


@pytest.fixture
def registry(mlflow_registry: MlflowRegistry) -> MlflowRegistry:
    return mlflow_registry


def test_the_adapter_lies_in_the_bucket_and_nothing_in_the_server(
    registry: MlflowRegistry, folder: Path, tmp_path: Path
) -> None:
    candidate = make_candidate(tmp_path / "a", "a")
    registry.register(candidate, tmp_path / "a", {})
    with registry.run(candidate.job_id) as run:
        (stored,) = (folder / "objects" / "mlflow").rglob(f"{run.run_id}/artifacts/adapter/a")
    assert adapter_sha256(stored) == candidate.adapter_sha256
    assert [*(folder / "work").iterdir(), *(folder / "home").iterdir()] == []


def test_a_foreign_host_is_refused(server: str) -> None:
    address = f"{server}/api/2.0/mlflow/experiments/search"
    assert status(address, {}, b'{"max_results": 1}')[0] == 200
    assert status(address, {"Host": "evil.example"})[0] == 403
    assert status(address, {"Host": "evil.example:5000"})[0] == 403


def test_another_site_in_a_reviewers_browser_changes_nothing(server: str) -> None:
    address = f"{server}/api/2.0/mlflow/registered-models/create"
    assert status(address, {"Origin": "https://evil.example"}, b'{"name": "planted"}')[0] == 403
    assert status(f"{address.removesuffix('create')}get", {}, b"{}")[0] != 200


def test_no_job_is_run_for_anybody(server: str) -> None:
    code, said = status(f"{server}/ajax-api/3.0/jobs/", {}, JOB)
    assert code >= 400
    assert "not enabled" in said


def test_each_user_has_a_database_that_the_other_may_not_enter(databases: str) -> None:
    url = f"postgresql://nightshift@{databases}/nightshift"
    for history in ("store", "ledger"):
        open_database(url, history).dispose()
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"postgresql://nightshift@{databases}/mlflow")
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(f"postgresql://mlflow@{databases}/nightshift")


def test_the_users_of_the_databases_have_passwords_and_no_power(databases: str) -> None:
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://postgres@{databases}/postgres")
    question = "SELECT rolname, rolpassword ^@ 'SCRAM', rolsuper OR rolcreatedb OR rolcreaterole FROM pg_authid"
    with engine.connect() as connection:
        users = {name: rest for name, *rest in connection.execute(sqlalchemy.text(question))}
    engine.dispose()
    assert users["nightshift"] == users["mlflow"] == [True, False]
