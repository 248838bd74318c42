import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel

from connectors.sql import tables
from connectors.sql.bulk import load
from connectors.sql.database import HEADS, History, open_database, reading, reserve, writing
from connectors.sql.migrations import config
from connectors.sql.store import SqlStore
from loop import types
from loop.errors import IntegrityError, UnreachableError, UsageError
from loop.ports import Batch, Parsed, Partition
from loop.types import DeadLetter
from tests.builders import interaction
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


def test_who_vanishes_in_a_transaction_does_not_keep_its_locks_for_long(tmp_path: Path) -> None:
    with opened(fresh_url("postgresql", tmp_path), "store") as engine, reading(engine) as connection:
        shown = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("idle_in_transaction_session_timeout", "lock_timeout", "TimeZone")
        ]
    assert shown == ["1min", "30s", "UTC"]


def test_the_last_hour_of_time_comes_back_whatever_zone_the_server_is_in(tmp_path: Path) -> None:
    url = fresh_url("postgresql", tmp_path)
    with opened(url, "store") as engine, engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
        admin.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET timezone = 'Asia/Karachi'")
    last = datetime(9999, 12, 31, 23, 30, tzinfo=UTC)
    store = SqlStore(url)
    event = replace(interaction(1), occurred_at=last)
    store.ingest(Parsed(Batch(Partition("events", 0), 0, 1, ()), (event,), (), ()))
    assert [each.occurred_at for each in store.interactions(store.watermark())] == [last]
    store.close()


def test_what_copy_cannot_take_is_an_error_of_the_database_like_any_other(tmp_path: Path) -> None:
    letters = [DeadLetter(letter_id=str(n), source="s", position=2**70, reason="r", payload=b"") for n in range(500)]
    with opened(fresh_url("postgresql", tmp_path), "store") as engine:
        ready = load(engine.dialect, tables.table_of(tables.DeadLetterRow), letters, ("letter_id",))
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="out of range"), writing(engine) as connection:
            ready.insert(connection, 1)


def test_a_server_that_can_only_be_read_is_waited_for(tmp_path: Path) -> None:
    with opened(fresh_url("postgresql", tmp_path), "store") as engine:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as admin:
            admin.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET default_transaction_read_only = on")
        engine.dispose()
        with pytest.raises(UnreachableError, match="can only be read"), writing(engine) as connection:
            reserve(connection, "name", 1)


@pytest.mark.parametrize("told", ["password=hush", "sslpassword=hush&application_name=x"])
def test_a_password_in_an_address_is_not_told(told: str) -> None:
    with pytest.raises(UnreachableError) as refused:
        open_database(f"postgresql://user:hush@127.0.0.1:1/name?{told}", "store")
    assert "hush" not in str(refused.value)


def test_texts_of_users_stand_in_no_error(tmp_path: Path) -> None:
    letter = DeadLetter(letter_id="what a user said", source="s", position=1, reason=None, payload=b"")  # type: ignore[arg-type]
    with (
        opened(fresh_url("sqlite", tmp_path), "store") as engine,
        pytest.raises(sqlalchemy.exc.IntegrityError) as refused,
        writing(engine) as connection,
    ):
        load(engine.dialect, tables.table_of(tables.DeadLetterRow), [letter], ("letter_id",)).insert(connection, 1)
    assert "what a user said" not in str(refused.value)


def test_a_database_in_memory_opens_like_one_in_a_file() -> None:
    with opened("sqlite://", "store") as engine, writing(engine) as connection:
        assert reserve(connection, "name", 2) == 1
