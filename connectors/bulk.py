"""Many rows into one table as fast as the database takes them, leaving out those it has seen before."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from connectors.database import insert, is_postgresql

COPY_ROWS = 200
"""From so many rows on, PostgreSQL's COPY into a temporary table is faster than INSERT."""
FLUSH_BYTES = 1 << 24
"""Sent before the driver waits for the server: each wait hands Python's lock to the thread that parses."""


def absorb(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], identity: Sequence[str]) -> int:
    """Insert `rows`, all with the same columns; one whose `identity` is there already, or earlier in `rows`, is not.

    Returns how many were new.
    """
    if not rows:
        return 0
    if is_postgresql(connection.dialect) and len(rows) >= COPY_ROWS:
        return _copy(connection, table, rows, identity)
    new_only = insert(connection, table).on_conflict_do_nothing(index_elements=identity)
    return connection.execute(new_only, rows).rowcount


def _copy(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], identity: Sequence[str]) -> int:
    quote = connection.dialect.identifier_preparer.quote
    names = list(rows[0])
    columns, target, staging = ", ".join(map(quote, names)), quote(table.name), quote(f"incoming_{table.name}")
    connection.exec_driver_sql(f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} (LIKE {target}) ON COMMIT DELETE ROWS")
    bound = [_binder(connection, table, name) for name in names]
    with _copying(connection, f"COPY {staging} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([bind(row[name]) for bind, name in zip(bound, names, strict=True)])
    moved = connection.exec_driver_sql(
        f"INSERT INTO {target} ({columns}) SELECT {columns} FROM {staging} ORDER BY sequence "  # noqa: S608 - our names
        f"ON CONFLICT ({', '.join(map(quote, identity))}) DO NOTHING"
    )
    return moved.rowcount


@contextmanager
def _copying(connection: Connection, statement: str) -> Iterator[Any]:
    """The driver's COPY; its errors are SQLAlchemy's, as those of other statements."""
    from psycopg.copy import LibpqWriter

    driver: Any = connection.connection.driver_connection
    errors = connection.dialect.loaded_dbapi.Error
    try:
        with driver.cursor() as cursor:
            in_one_piece = LibpqWriter(cursor, flush_threshold=FLUSH_BYTES)
            with cursor.copy(statement, writer=in_one_piece) as copy:
                yield copy
    except errors as error:
        raise DBAPIError.instance(statement, None, error, errors, dialect=connection.dialect) from error


def _binder(connection: Connection, table: Table, name: str) -> Any:  # noqa: ANN401 - what SQLAlchemy's types return
    """What makes a value of this column ready for the driver, as an INSERT would."""
    return table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect) or _same


def _same(value: object) -> object:
    return value
