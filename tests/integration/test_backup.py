"""The backup and the restore that infra/README.md tells, run as they stand there."""

import re
import shutil
import subprocess
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from connectors.mlflow.registry import MlflowRegistry
from connectors.sql.ledger import SqlLedger
from connectors.sql.store import SqlStore
from loop.promotion import champion, promote, reconcile, rollback
from loop.promotion.checks import verified
from tests.candidates import make_candidate
from tests.infra import INFRA
from tests.services import require

SECTION = (INFRA / "README.md").read_text().partition("## Backup and restore")[2]
BACKUP, RESTORE = re.findall(r"^```\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)


def opened(home: Path) -> tuple[SqlLedger, MlflowRegistry]:
    ledger = SqlLedger(f"sqlite:///{home}/ledger.db")
    return ledger, MlflowRegistry(f"sqlite:///{home}/mlflow.db", "assistant", home / "versions", ledger)


def promoted(home: Path, version: int) -> None:
    """A ledger and a registry in which so many versions have served one after the other."""
    ledger, registry = opened(home)
    for number in range(1, version + 1):
        folder = home / "candidates" / str(number)
        registered = registry.register(make_candidate(folder, str(number)), folder, {})
        promote(
            ledger, registry, version=registered, decision=None, model="assistant", actor="a", reason="r", clock=now
        )
    ledger.close()


def now() -> datetime:
    return datetime.now(UTC)


def shell(script: str, folder: Path) -> None:
    subprocess.run(["sh", "-euc", script], cwd=folder, check=True)


def test_what_was_backed_up_serves_again_and_can_be_rolled_back(tmp_path: Path) -> None:
    require("sqlite3", present=bool(shutil.which("sqlite3")), remedy="install sqlite3")
    home = tmp_path / ".nightshift"
    home.mkdir()
    (tmp_path / "nightshift.toml").write_text("[model]\n")
    (home / "user.key").write_text("0" * 64)
    SqlStore(f"sqlite:///{home}/store.db").close()
    # In a process of its own: MLflow keeps a database open as long as the process lives.
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        other.submit(promoted, home, 2).result()

    shell(BACKUP, tmp_path)
    shutil.rmtree(home)
    (tmp_path / "nightshift.toml").unlink()
    shell("\n".join(line for line in RESTORE.splitlines() if not line.startswith("nightshift")), tmp_path)

    assert (tmp_path / "nightshift.toml").exists()
    assert (home / "user.key").read_text() == "0" * 64
    ledger, registry = opened(home)
    entries = ledger.entries()
    assert champion(entries) == registry.alias("champion") == 2
    assert verified(registry, entries, 2).candidate_id == "2"
    assert reconcile(ledger, registry) == ()
    rollback(ledger, registry, to=None, actor="a", reason="r", clock=now)
    assert champion(ledger.entries()) == registry.alias("champion") == 1
    assert verified(registry, ledger.entries(), 1).candidate_id == "1"
    ledger.close()
