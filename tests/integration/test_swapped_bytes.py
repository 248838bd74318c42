"""What was judged is what is promoted and served: bytes swapped anywhere on the way are refused, and said so."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from connectors.expectations import validate
from connectors.mlflow.registry import MlflowRegistry
from connectors.sql.ledger import SqlLedger
from connectors.sql.log import TableLog
from connectors.sql.store import SqlStore
from loop import settings, training
from loop.errors import IntegrityError, NotFoundError
from loop.hashing import adapter_sha256
from loop.home import candidate_folder
from loop.identity import evidence_id
from loop.intake.events import encode
from loop.machine import Machine
from loop.nights import nightly
from loop.nights.capture import capture_events
from loop.nights.curate import curate_snapshot
from loop.nights.decide import decide_candidate
from loop.nights.evaluate import evaluate_candidate
from loop.nights.parts import Parts
from loop.nights.promote import promote_version
from loop.nights.register import register_candidate
from loop.nights.train import _job, train_candidate
from loop.nights.versions import load_version
from loop.promotion import champion
from loop.training import checkpoint
from loop.types import Candidate, Evidence, NightStatus, Outputs, SuiteRole, Verdict, Without
from tests.project import edited
from tests.tiny import tiny_model

NOON = datetime(2026, 1, 3, tzinfo=UTC)
POLICY = {
    "model.dtype": "float32",
    "curation.min_account_days": 0.0,
    "curation.vault_share": 0.3,
    "training.rank": 4,
    "training.learning_rate": 5e-3,
    "training.epochs": 1.0,
    "training.min_steps": 0,
    "training.max_tokens": 256,
    "training.budget_minutes": 60.0,
    "evaluation.max_new_tokens": 4,
}
EACH_STEP = Machine(checkpoint_minutes=0.0)
WEIGHTS = "adapter_model.safetensors"

pytestmark = pytest.mark.usefixtures("one_thread")


@dataclass(frozen=True)
class House:
    """A home with one candidate that is trained, registered and judged better than the base model."""

    parts: Parts
    snapshot_id: str
    candidate: Candidate
    version: int
    evidence: Evidence
    decision_id: str

    @property
    def home(self) -> Path:
        return self.parts.home

    @property
    def folder(self) -> Path:
        return candidate_folder(self.home, self.candidate.candidate_id)

    def promote(self) -> None:
        promote_version(self.parts, self.version, self.decision_id, "test")


def opened(folder: Path) -> Parts:
    home = folder / ".nightshift"
    home.mkdir(parents=True)
    policy = settings.load(overrides={"model.base": str(tiny_model(folder / "base")), **POLICY})
    store = f"sqlite:///{home}/store.db"
    ledger = SqlLedger(f"sqlite:///{home}/ledger.db")
    return Parts(
        log=TableLog(store),
        store=SqlStore(store),
        ledger=ledger,
        registry=MlflowRegistry(f"sqlite:///{home}/mlflow.db", "assistant", home / "versions", ledger),
        validator=validate,
        settings=replace(policy, addresses=settings.Addresses(home=home)),
        clock=lambda: datetime.now(UTC),
        progress=lambda *_: None,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> House:
    parts = opened(tmp_path_factory.mktemp("house"))
    parts.log.append([encode(event) for user in range(60) for event in edited(user)])
    snapshot_id = curate_snapshot(parts, capture_events(parts), NOON).snapshot_id
    candidate = train_candidate(parts, snapshot_id, 0)
    version = register_candidate(parts, candidate.candidate_id)
    evidence = better(evaluate_candidate(parts, candidate.candidate_id, 0))
    parts.store.save_evidence(evidence)
    decision = decide_candidate(parts, evidence.evidence_id)
    assert decision.verdict is Verdict.PROMOTE
    return House(parts, snapshot_id, candidate, version, evidence, decision.decision_id)


def better(evidence: Evidence) -> Evidence:
    """The same evidence with a candidate that every user prefers: a tiny random model has none to show."""
    suites = tuple(
        replace(suite, scores=tuple(replace(score, candidate=1.0, champion=0.0) for score in suite.scores))
        if suite.role is SuiteRole.SUPERIORITY
        else suite
        for suite in evidence.suites
    )
    changed = replace(evidence, suites=suites)
    return replace(changed, evidence_id=evidence_id(changed))


@pytest.fixture
def house(built: House) -> Iterator[House]:
    """The house, whose databases and folders are as they were when a test ends."""
    kept = built.home.with_name("kept")
    shutil.copytree(built.home, kept)
    yield built
    for entry in built.home.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
            shutil.copytree(kept / entry.name, entry) if (kept / entry.name).exists() else None
    for file in kept.glob("*.db"):  # into the same file: connections to it are open
        with closing(sqlite3.connect(file)) as before, closing(sqlite3.connect(built.home / file.name)) as now:
            before.backup(now)
    shutil.rmtree(kept)


@contextmanager
def database(house: House, name: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(house.home / name)) as connection, connection:
        yield connection


def swap(folder: Path) -> str:
    """Another adapter in a folder; returns its sha256."""
    weights = folder / WEIGHTS
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    return adapter_sha256(folder)


def artifacts(house: House) -> Path:
    [found] = house.home.glob(f"mlflow-artifacts/*/*/artifacts/adapter/**/{WEIGHTS}")
    return found.parent


def swap_in_registry(house: House) -> None:
    """Other bytes under the version, and their sha256 on it: what somebody with MLflow's credentials can do."""
    sha256 = swap(artifacts(house))
    shutil.rmtree(house.home / "versions", ignore_errors=True)
    with database(house, "mlflow.db") as connection:
        connection.execute("UPDATE model_version_tags SET value = ? WHERE key = 'adapter_sha256'", (sha256,))


def test_the_bytes_of_one_candidate_pass_every_step(house: House) -> None:
    house.promote()
    assert champion(house.parts.ledger.entries()) == house.version
    sha256 = house.candidate.adapter_sha256
    assert house.candidate.candidate_id == sha256[:16]
    assert house.parts.ledger.entries()[-1].adapter_sha256 == sha256
    assert house.parts.store.decision(house.decision_id).candidate_sha256 == sha256


def test_an_adapter_that_was_altered_on_disk_is_neither_registered_nor_judged(house: House) -> None:
    swap(house.folder)
    with pytest.raises(IntegrityError, match="does not have its sha256") as refused:
        register_candidate(house.parts, house.candidate.candidate_id)
    assert f"nightshift train {house.snapshot_id}" in refused.value.remedy
    with pytest.raises(IntegrityError, match="does not have its sha256"):
        evaluate_candidate(house.parts, house.candidate.candidate_id, 0)


def test_an_adapter_that_is_gone_says_how_to_train_it_and_comes_back_with_the_same_bytes(house: House) -> None:
    shutil.rmtree(house.folder)
    with pytest.raises(NotFoundError, match="has no files") as refused:
        evaluate_candidate(house.parts, house.candidate.candidate_id, 0)
    assert f"nightshift train {house.snapshot_id} --from 0" in refused.value.remedy
    assert train_candidate(house.parts, house.snapshot_id, 0).adapter_sha256 == house.candidate.adapter_sha256
    assert register_candidate(house.parts, house.candidate.candidate_id) == house.version


def test_a_retraining_that_comes_to_other_bytes_is_another_candidate_and_another_version(house: House) -> None:
    job = _job(house.parts, house.snapshot_id, 0)
    shutil.rmtree(house.folder)
    shutil.rmtree(job.folder)
    running = training.train(job, machine=EACH_STEP)
    for _ in range(2):
        next(running)
    running.close()
    late(job.folder)
    made = train_candidate(house.parts, house.snapshot_id, 0)
    assert made.metrics["steps"] < house.candidate.metrics["steps"]
    assert made.job_id == house.candidate.job_id
    assert made.candidate_id != house.candidate.candidate_id
    assert register_candidate(house.parts, made.candidate_id) != house.version
    known = {candidate.candidate_id for candidate in house.parts.store.candidates_of(made.job_id)}
    assert known == {house.candidate.candidate_id, made.candidate_id}
    with pytest.raises(NotFoundError, match="has no files"):
        register_candidate(house.parts, house.candidate.candidate_id)


def late(folder: Path) -> None:
    """Let a training that stopped have used up its wall-clock budget, as beside a busy neighbour."""
    file = folder / checkpoint.FILE
    kept = checkpoint.read(file)
    assert kept is not None
    kept["state"]["seconds"] = 1e6
    checkpoint._write(file, kept)


def test_a_version_whose_files_were_swapped_in_the_registry_is_neither_promoted_nor_loaded(house: House) -> None:
    swap(artifacts(house))
    shutil.rmtree(house.home / "versions", ignore_errors=True)
    with pytest.raises(IntegrityError, match="does not have its sha256"):
        house.promote()
    with pytest.raises(IntegrityError, match="does not have its sha256"):
        load_version(house.parts.settings, house.parts.registry, (), house.version)


def test_a_version_swapped_with_its_recorded_sha256_is_not_promoted_on_the_decision_about_the_other(
    house: House,
) -> None:
    swap_in_registry(house)
    with pytest.raises(IntegrityError, match="judged had"):
        house.promote()
    assert champion(house.parts.ledger.entries()) == 0


def test_a_champion_swapped_with_its_recorded_sha256_neither_serves_nor_is_continued(house: House) -> None:
    house.promote()
    swap_in_registry(house)
    entries = house.parts.ledger.entries()
    with pytest.raises(IntegrityError, match="not the one in the ledger"):
        load_version(house.parts.settings, house.parts.registry, entries, house.version)
    with pytest.raises(IntegrityError, match="not the one in the ledger"):
        train_candidate(house.parts, house.snapshot_id, house.version)


@pytest.mark.parametrize(
    ("column", "value"),
    [("candidate_sha256", "0" * 64), ("champion_sha256", "0" * 64), ("suites", "[]"), ("candidate_id", "another")],
)
def test_evidence_that_was_altered_decides_nothing(house: House, column: str, value: str) -> None:
    with database(house, "store.db") as connection:
        connection.execute(f"UPDATE evidence SET {column} = ?", (value,))  # noqa: S608
    with pytest.raises(IntegrityError, match="altered after it was collected"):
        decide_candidate(house.parts, house.evidence.evidence_id)


def test_evidence_about_other_bytes_than_the_candidates_decides_nothing(house: House) -> None:
    with database(house, "store.db") as connection:
        connection.execute("UPDATE candidate SET adapter_sha256 = ?", ("0" * 64,))
    with pytest.raises(IntegrityError, match="about other bytes than candidate"):
        decide_candidate(house.parts, house.evidence.evidence_id)
    with pytest.raises(IntegrityError, match="does not have its sha256"):
        register_candidate(house.parts, house.candidate.candidate_id)


@pytest.mark.parametrize(
    ("column", "value"),
    [("candidate_sha256", "0" * 64), ("champion_version", 7), ("tests", "[]"), ("reasons", '["because"]')],
)
def test_a_decision_that_was_altered_promotes_nothing(house: House, column: str, value: object) -> None:
    with database(house, "store.db") as connection:
        connection.execute(f"UPDATE decision SET {column} = ?", (value,))  # noqa: S608
    with pytest.raises(IntegrityError, match="altered after the gate made it"):
        house.promote()


def test_a_ledger_row_about_other_bytes_breaks_the_chain(house: House) -> None:
    house.promote()
    with database(house, "ledger.db") as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("UPDATE promotion SET adapter_sha256 = ?", ("0" * 64,))
    with pytest.raises(IntegrityError, match="its hash does not fit its content"):
        house.parts.ledger.entries()


def test_a_night_whose_candidate_was_swapped_is_closed_with_what_to_do_and_the_next_begins(house: House) -> None:
    night = nightly._open(house.parts, NOON, "")
    outputs = Outputs(
        watermark=1,
        snapshot_id=house.snapshot_id,
        docs=Without.DOCS,
        candidate_id=house.candidate.candidate_id,
    )
    house.parts.store.save_night(replace(night, outputs=outputs))
    swap(house.folder)
    closed = nightly.run(house.parts, NOON)
    assert closed.status is NightStatus.FAILED
    assert "does not have its sha256" in closed.reasons[-1]
    assert "train again" in closed.reasons[-1]
    assert Path(str(closed.outputs.report)).exists()
    assert nightly._open(house.parts, NOON, "").night_id == "night-0002"
