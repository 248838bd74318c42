import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from connectors import tables
from connectors.database import HEADS, History, open_database, reading, reserve, writing
from connectors.migrations import config
from loop import types
from loop.errors import IntegrityError, UnreachableError, UsageError
from tests.databases import DATABASES, fresh_url

METADATA = {"store": tables.StoreTable.metadata, "ledger": tables.LedgerTable.metadata}
NOUNS = {
    tables.InteractionRow: types.Interaction,
    tables.FeedbackRow: types.Feedback,
    tables.DeadLetterRow: types.DeadLetter,
    tables.NightRow: types.Night,
    tables.SnapshotRow: types.Snapshot,
    tables.CandidateRow: types.Candidate,
    tables.EvidenceRow: types.Evidence,
    tables.DecisionRow: types.Decision,
    tables.PromotionRow: types.Promotion,
}

histories = pytest.mark.parametrize("history", ["store", "ledger"])
databases = pytest.mark.parametrize("database", DATABASES)
processes = multiprocessing.get_context("fork")


@contextmanager
def opened(url: str, history: History) -> Iterator[sqlalchemy.Engine]:
    engine = open_database(url, history)
    yield engine
    engine.dispose()


@pytest.mark.parametrize("row", NOUNS, ids=lambda row: row.__tablename__)
def test_a_table_has_a_column_per_field_of_its_noun(row: type[SQLModel]) -> None:
    columns = set(tables.table_of(row).c.keys())
    assert columns - {"sequence"} == {field.name for field in fields(NOUNS[row])} - {"sequence"}


@databases
@histories
def test_models_and_migrations_agree(database: str, history: History, tmp_path: Path) -> None:
    with opened(fresh_url(database, tmp_path), history) as engine, reading(engine) as connection:
        seen = MigrationContext.configure(connection, opts={"version_table": f"alembic_version_{history}"})
        assert compare_metadata(seen, METADATA[history]) == []


@databases
@histories
def test_the_newest_migration_is_the_one_that_opening_looks_for(
    database: str, history: History, tmp_path: Path
) -> None:
    with opened(fresh_url(database, tmp_path), history) as engine, reading(engine) as connection:
        assert ScriptDirectory.from_config(config(connection, history)).get_heads() == [HEADS[history]]


@databases
@histories
def test_migrations_go_down_to_nothing_and_up_again(database: str, history: History, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    with opened(url, history) as engine:
        before = names(engine)
        with writing(engine) as connection:
            command.downgrade(config(connection, history), "base")
        assert names(engine) == {f"alembic_version_{history}"}
    with opened(url, history) as engine:
        assert names(engine) == before


@databases
def test_store_and_ledger_may_share_a_database(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    with opened(url, "store"), opened(url, "ledger") as engine:
        assert {"interaction", "promotion"} <= names(engine)


@databases
def test_processes_that_open_a_new_database_at_once_make_its_tables_once(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    openers = [processes.Process(target=open_and_reserve, args=(url,)) for _ in range(4)]
    for opener in openers:
        opener.start()
    for opener in openers:
        opener.join()
    assert [opener.exitcode for opener in openers] == [0] * 4
    with opened(url, "store") as engine, writing(engine) as connection:
        assert reserve(connection, "test", 1) == 5


def open_and_reserve(url: str) -> None:
    with opened(url, "store") as engine, writing(engine) as connection:
        reserve(connection, "test", 1)


def test_opening_waits_for_another_process_that_turns_the_new_file_to_wal(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.close)
    release.start()
    with opened(f"sqlite:///{path}", "store") as engine:
        assert "interaction" in names(engine)
    release.join()


@databases
def test_reserved_numbers_are_consecutive_and_given_back_by_a_rollback(database: str, tmp_path: Path) -> None:
    with opened(fresh_url(database, tmp_path), "store") as engine:
        with writing(engine) as connection:
            assert [reserve(connection, "test", count) for count in (3, 1, 0, 2)] == [1, 4, 5, 5]
        with pytest.raises(ZeroDivisionError), writing(engine) as connection:
            reserve(connection, "test", 100 // 0)
        with engine.connect() as connection:
            reserve(connection, "test", 100)
        with writing(engine) as connection:
            assert reserve(connection, "test", 1) == 7


def test_a_commit_on_sqlite_survives_a_power_cut(tmp_path: Path) -> None:
    with opened(fresh_url("sqlite", tmp_path), "store") as engine, reading(engine) as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2


def test_the_folder_of_a_new_database_is_made(tmp_path: Path) -> None:
    with opened(f"sqlite:///{tmp_path}/a/b/store.db", "store"):
        assert (tmp_path / "a/b/store.db").exists()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    url = fresh_url("sqlite", tmp_path)
    with opened(url, "store") as engine, writing(engine) as connection:
        connection.exec_driver_sql("UPDATE alembic_version_store SET version_num = 'store_9999'")
    with pytest.raises(UsageError, match="newer version"):
        open_database(url, "store")


def test_a_path_that_is_a_folder_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        open_database(f"sqlite:///{tmp_path}", "store")


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    with pytest.raises(IntegrityError, match="damaged"):
        open_database(f"sqlite:///{tmp_path}/store.db", "store")


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "oracle://u:hush@host/name"])
def test_an_address_of_no_usable_database_is_a_usage_error_that_shows_no_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_database(url, "store")
    assert "hush" not in str(caught.value)


def names(engine: sqlalchemy.Engine) -> set[str]:
    return set(sqlalchemy.inspect(engine).get_table_names())
