"""Opens a database for store, log and ledger, and holds every difference between SQLite and PostgreSQL.

SQLite runs in WAL mode with synchronous=FULL (a commit survives a power cut); writers take the one write lock when
they begin and wait for each other. On PostgreSQL a row or advisory lock does the same.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
import tenacity
from msgspec.json import Encoder
from pydantic_core import to_json
from sqlalchemy import URL, Connection, Engine, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

from connectors.sql.tables import CounterRow, table_of
from loop.errors import IntegrityError, UnreachableError, UsageError

History = Literal["store", "ledger"]
HEADS: dict[History, str] = {"store": "store_0005", "ledger": "ledger_0002"}
"""The newest migration of each history, known here so that opening a current database never imports Alembic."""

WAIT_SECONDS = 30
"""How long a writer waits for another one, and for a server to answer."""
SQLITE = {"timeout": WAIT_SECONDS}
POSTGRESQL = {
    "connect_timeout": WAIT_SECONDS,
    "keepalives_idle": WAIT_SECONDS,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * WAIT_SECONDS,
}
SESSION = (
    f"lock_timeout = '{WAIT_SECONDS}s'",
    "idle_in_transaction_session_timeout = '60s'",
    "TimeZone = 'UTC'",
)
REFUSALS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
"""What PostgreSQL says of credentials; while it connects the driver has no SQLSTATE."""
READ_ONLY = "25006"
"""SQLSTATE of a server that was the primary until now."""

_ENCODER = Encoder(enc_hook=dict)


def open_database(url: str, history: History) -> Engine:
    """An engine on a database whose tables are current; SQLite files and their folder are made when absent.

    Raises UsageError for a URL that names no usable database, UnreachableError when it does not answer.
    """
    engine = _engine(_parsed(url))
    try:
        _migrate(engine, history)
    except BaseException:
        engine.dispose()
        raise
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection whose reads all see one moment."""
    with _explained(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that commits at the end and is rolled back by any exception."""
    with _explained(engine), engine.execution_options(immediate=True).begin() as connection:
        yield connection


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that knows ON CONFLICT and tells by `rowcount` how many rows were new."""
    fresh = postgresql.insert(table) if is_postgresql(connection.dialect) else sqlite.insert(table)
    return fresh.execution_options(preserve_rowcount=True)


def is_postgresql(dialect: sqlalchemy.Dialect) -> bool:
    """Not SQLite."""
    return dialect.name == "postgresql"


def json_text(value: object) -> str:
    """A value of a JSON column, dataclasses included, as both databases keep it."""
    return to_json(value, inf_nan_mode="strings", fallback=dict).decode()


def json_lines(values: Sequence[object]) -> bytes:
    """A line of JSON for each value, faster than `json_text`; what is not finite becomes null, but events have none."""
    return _ENCODER.encode_lines(values)


def reserve(connection: Connection, name: str, count: int) -> int:
    """The first of `count` consecutive numbers, from 1.

    The counter's row stays locked until this transaction ends, so numbers become visible in their order: whoever
    reads up to N has all up to N. (A sequence or SERIAL would let N + 1 commit before N.)
    """
    counter = table_of(CounterRow)
    fresh = insert(connection, counter).values(name=name, last=count)
    taken = fresh.on_conflict_do_update(
        index_elements=[counter.c.name], set_={"last": counter.c.last + fresh.excluded.last}
    )
    last: int = connection.execute(taken.returning(counter.c.last)).scalar_one()
    return last - count + 1


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError(
            "the database address cannot be read", "write sqlite:///path or postgresql://host/name"
        ) from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise UsageError(f"{_shown(parsed)} is on neither SQLite nor PostgreSQL", "use one of these two")
    if parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    return parsed


def _engine(url: URL) -> Engine:
    sqlite_file = url.database if url.get_backend_name() == "sqlite" else None
    if sqlite_file:
        Path(sqlite_file).parent.mkdir(parents=True, exist_ok=True)
    try:
        engine = sqlalchemy.create_engine(
            url,
            json_serializer=json_text,
            json_deserializer=json.loads,
            pool_pre_ping=not sqlite_file,
            hide_parameters=True,
            connect_args=SQLITE if url.get_backend_name() == "sqlite" else POSTGRESQL,
        )
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{_shown(url)} needs the package {error.name}", "pip install 'nightshift-loop[postgres]'"
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable)
        event.listen(engine, "begin", _begin)
    else:
        event.listen(engine, "connect", _bounded)
    return engine


def _shown(url: URL) -> str:
    """Without the password, wherever it stands."""
    return url.set(query={}).render_as_string()


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    """Takes BEGIN out of the driver's hands, which would delay it to the first write, and makes commits durable."""
    connection.isolation_level = None
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _bounded(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    """Who vanishes in a transaction loses its locks in a minute; times come back in UTC, so that year 9999 has room."""
    connection.autocommit = True
    for setting in SESSION:
        connection.execute(f"SET {setting}")
    connection.autocommit = False


@tenacity.retry(
    retry=tenacity.retry_if_exception_message(match="database is locked"),
    wait=tenacity.wait_random(0.01, 0.1),
    stop=tenacity.stop_after_delay(WAIT_SECONDS),
    reraise=True,
)
def _write_ahead(connection: sqlite3.Connection) -> None:
    """Of two connections that turn a new file to WAL at once SQLite refuses one without waiting."""
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(engine: Engine, history: History) -> None:
    with reading(engine) as connection:
        current = _revision(connection, history) == HEADS[history]
    if current:
        return
    from connectors.sql.migrations import upgrade

    with writing(engine) as connection:
        if is_postgresql(connection.dialect):
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('nightshift'))"))
        upgrade(connection, history)


def _revision(connection: Connection, history: History) -> str | None:
    table = f"alembic_version_{history}"
    if not sqlalchemy.inspect(connection).has_table(table):
        return None
    return connection.execute(text(f"SELECT version_num FROM {table}")).scalar()  # noqa: S608 - one of two names


@contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        if any(refusal in str(error.orig) for refusal in REFUSALS):
            raise UsageError(
                f"the database {_shown(engine.url)} refuses these credentials: {error.orig}",
                "set the user in the address and the password there, in PGPASSWORD or in ~/.pgpass",
            ) from error
        raise UnreachableError(
            f"the database {_shown(engine.url)} does not answer: {error.orig}",
            "see that it runs, has room and may be written, then repeat",
        ) from error
    except DatabaseError as error:
        if getattr(error.orig, "sqlstate", None) == READ_ONLY:
            raise UnreachableError(
                f"the database {_shown(engine.url)} can only be read now", "name the primary, then repeat"
            ) from error
        if type(error) is not DatabaseError:
            raise
        raise IntegrityError(
            f"the file of {_shown(engine.url)} is damaged: {error.orig}", "restore it from a backup"
        ) from error
