"""Databases of store, log and ledger: how they are opened, and every difference between SQLite and PostgreSQL.

SQLite runs in WAL mode with synchronous=FULL (a commit survives a power cut). Its writers take the one write lock when
they begin and wait for each other; on PostgreSQL a row lock or an advisory lock does the same.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import sqlalchemy
import tenacity
from msgspec.json import Encoder
from pydantic_core import to_json
from sqlalchemy import URL, Connection, Engine, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError

from connectors.sql.forking import WRITES
from connectors.sql.tables import CounterRow, table_of
from loop.errors import IntegrityError, UnreachableError, UsageError

History = Literal["store", "ledger"]
HEADS: dict[History, str] = {"store": "store_0006", "ledger": "ledger_0002"}
"""Newest migration of each history, named here so that opening a current database never imports Alembic."""

WAIT_SECONDS = 30
"""Seconds that a writer waits for another writer, and a client for the server's answer."""
SQLITE = {"timeout": WAIT_SECONDS}
# Without keepalives and a timeout a connection whose server has vanished would be waited on for hours.
POSTGRESQL = {
    "connect_timeout": WAIT_SECONDS,
    "keepalives_idle": WAIT_SECONDS,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 1000 * WAIT_SECONDS,
}
# A process that hangs in a transaction holds the counter's lock, for which every other capture waits.
SESSION = (
    f"lock_timeout = '{WAIT_SECONDS}s'",
    "idle_in_transaction_session_timeout = '60s'",
    "TimeZone = 'UTC'",
)
REFUSALS = ("password authentication failed", "no password supplied", "no pg_hba.conf entry")
"""Texts by which PostgreSQL refuses credentials; errors while connecting have no SQLSTATE in the driver."""
READ_ONLY = "25006"
"""SQLSTATE of a write on a server that is not the primary any more."""

# A noun's mapping may be of any type; msgspec by itself writes dicts alone.
_ENCODER = Encoder(enc_hook=dict)


def open_database(url: str, history: History) -> Engine:
    """An engine on a database with up-to-date tables; a SQLite file and its folder are made when absent.

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
    """A connection whose reads all see the database at one moment."""
    with _explained(engine), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that commits at the end and is rolled back by any exception."""
    alone = nullcontext() if is_postgresql(engine.dialect) else WRITES
    with alone, _explained(engine), engine.execution_options(immediate=True).begin() as connection:
        yield connection


def insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT that takes ON CONFLICT and whose `rowcount` is the number of new rows."""
    fresh = postgresql.insert(table) if is_postgresql(connection.dialect) else sqlite.insert(table)
    return fresh.execution_options(preserve_rowcount=True)


def is_postgresql(dialect: sqlalchemy.Dialect) -> bool:
    """Whether the dialect is PostgreSQL's; it is SQLite's otherwise."""
    return dialect.name == "postgresql"


def json_text(value: object) -> str:
    """The JSON text of a value, dataclasses included, as both databases keep it."""
    return to_json(value, inf_nan_mode="strings", fallback=dict).decode()


def json_lines(values: Sequence[object]) -> bytes:
    """A line of JSON for each value, faster than `json_text`.

    Numbers that are not finite become null; events have none.
    """
    return _ENCODER.encode_lines(values)


def reserve(connection: Connection, name: str, count: int) -> int:
    """The first of `count` consecutive numbers, from 1.

    The counter's row stays locked until the transaction ends, so numbers become visible in their order: a reader that
    sees N sees everything before N. (A SEQUENCE or SERIAL would let N + 1 commit before N.)
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
            # A server closes idle connections when it restarts; a file cannot.
            pool_pre_ping=not sqlite_file,
            # Parameters are users' texts, which may stand in no error message.
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
    """The address without its password, which may also stand in the query."""
    return url.set(query={}).render_as_string()


def _durable(connection: sqlite3.Connection, _record: object) -> None:
    """Take BEGIN out of the driver's hands, which would delay it until the first write, and make commits durable."""
    connection.isolation_level = None
    _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")


def _bounded(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's
    """Make the session's limits: whoever vanishes in a transaction loses its locks within a minute.

    Times come in UTC: in a zone east of it the last hours of the year 9999 would lie in a year that Python has not.
    """
    # A SET inside a transaction would be undone by its rollback.
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
    """Set WAL mode, again while another connection does: SQLite refuses one of the two without waiting."""
    connection.execute("PRAGMA journal_mode = WAL")


def _begin(connection: Connection) -> None:
    # A writer that began by reading could not become one later: SQLite refuses it when another has written since.
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _migrate(engine: Engine, history: History) -> None:
    # Read first: a database that is current opens without the write lock and without Alembic.
    with reading(engine) as connection:
        current = _revision(connection, history) == HEADS[history]
    if current:
        return
    from connectors.sql.migrations import upgrade

    with writing(engine) as connection:
        # Of several processes that open a new database one migrates it; on SQLite the write lock sees to that.
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
        # Subclasses say what is wrong with a statement; sqlite3 raises the bare class for a file it cannot read.
        if type(error) is not DatabaseError:
            raise
        raise IntegrityError(
            f"the file of {_shown(engine.url)} is damaged: {error.orig}", "restore it from a backup"
        ) from error
