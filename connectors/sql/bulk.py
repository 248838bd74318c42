"""Bulk inserts into one table, as fast as the database takes them, without the rows that it has already.

Python's share of the work, turning rows into text, is done before the transaction. The database parses the text by
itself, without Python's lock, while the next batch is parsed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import JSON, Column, Connection, Dialect, LargeBinary, String, Table, TypeDecorator
from sqlalchemy.exc import DBAPIError

from connectors.sql.columns import Nested
from connectors.sql.database import insert, is_postgresql, json_lines
from connectors.sql.rows import row_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FEW = 200
"""Number of rows below which a plain INSERT is faster."""
FLUSH_BYTES = 1 << 24
"""Bytes that are sent before the driver waits for the server."""

NULL = rb"\N"
BY_INDEX = "SET LOCAL enable_seqscan = off"
"""Setting that makes PostgreSQL look ids up by index.

A plan made while the table was small would scan the whole table for each id, until the next autovacuum.
"""

Nouns = Sequence["DataclassInstance"]


class Load(Protocol):
    """The rows of one table, ready to be inserted; after an error they can be inserted again."""

    count: int

    def insert(self, connection: Connection, sequence: int) -> int:
        """Insert the rows, numbered from `sequence`, unless their identity is known; returns how many were new.

        The transaction must hold a lock that keeps others from inserting into the table.
        """


def load(dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> Load:
    """The load of `nouns`, all of one kind, into `table`.

    Of several nouns with the same `identity` columns the first is kept, and the row of an earlier load before any.
    """
    if len(nouns) < FEW:
        return _Few(table, nouns, identity)
    if is_postgresql(dialect):
        return _Copied(dialect, table, nouns, identity)
    # JSON cannot hold bytes, so a table of dead letters cannot travel as one JSON text.
    if any(isinstance(column.type, LargeBinary) for column in table.c):
        return _Few(table, nouns, identity)
    return _Listed(dialect, table, nouns, identity)


class _Few:
    """Load by INSERT, row by row."""

    def __init__(self, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        self._table = table
        self._identity = identity
        self._rows = [row_of(noun) for noun in nouns]

    def insert(self, connection: Connection, sequence: int) -> int:
        if not self._rows:
            return 0
        new_only = insert(connection, self._table).on_conflict_do_nothing(index_elements=self._identity)
        rows = [row | {"sequence": number} for number, row in enumerate(self._rows, start=sequence)]
        return connection.execute(new_only, rows).rowcount


class _Copied:
    """A load on PostgreSQL: COPY of the rows that the table does not have."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        columns = _columns(dialect, table, nouns)
        keys = zip(*(columns[name] for name in identity), strict=True)
        self._lines: dict[tuple[Any, ...], bytes] = {}
        for key, line in zip(keys, _copy_lines(table, columns), strict=True):
            # A repeated event keeps its first place: with the last one, a conversation's rows would be out of order.
            self._lines.setdefault(key, line)
        quote = dialect.identifier_preparer.quote
        target, names = quote(table.name), ", ".join(map(quote, columns))
        first, identified = quote(identity[0]), ", ".join(map(quote, identity))
        # The ids go as one parameter. As text of the statement they would make a new statement for each batch, and
        # those stay in memory until the next garbage collection.
        asked = "ARRAY(SELECT json_array_elements_text(%s))"
        self._seen = f"SELECT {identified} FROM {target} WHERE {first} = ANY({asked})"  # noqa: S608 - our names
        self._copy = f"COPY {target} ({names}, sequence) FROM STDIN"

    def insert(self, connection: Connection, sequence: int) -> int:
        connection.exec_driver_sql(BY_INDEX)
        first_columns = [key[0] for key in self._lines]
        asked = json_lines([first_columns]).decode()
        # COPY knows no ON CONFLICT, so known rows are left out before. The caller's lock keeps others from adding any.
        seen = set(map(tuple, connection.exec_driver_sql(self._seen, (asked,))))
        fresh = [line for key, line in self._lines.items() if key not in seen]
        if not fresh:
            return 0
        ends = [b"\t%d\n" % number for number in range(sequence, sequence + len(fresh))]
        with _copying(connection, self._copy) as copy:
            copy.write(b"".join(chain.from_iterable(zip(fresh, ends, strict=True))))
        return len(fresh)


class _Listed:
    """A load on SQLite: all rows as one JSON text, which a single INSERT takes apart."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        columns = _columns(dialect, table, nouns)
        self._text = json_lines([list(zip(*columns.values(), strict=True))]).decode()
        quote = dialect.identifier_preparer.quote
        names = ", ".join(map(quote, columns))
        values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
        # `WHERE true` is SQLite's own advice: without it the parser takes ON CONFLICT for the ON of a join.
        self._insert = (
            f"INSERT INTO {quote(table.name)} (sequence, {names}) SELECT ? + key, {values} FROM json_each(?) "  # noqa: S608 - our names
            f"WHERE true ORDER BY key ON CONFLICT ({', '.join(map(quote, identity))}) DO NOTHING"
        )

    def insert(self, connection: Connection, sequence: int) -> int:
        return connection.exec_driver_sql(self._insert, (sequence, self._text)).rowcount


def _columns(dialect: Dialect, table: Table, nouns: Nouns) -> dict[str, Sequence[Any]]:
    """The fields of `nouns` by name, converted as an INSERT would; values for JSON and bytes stay as they are."""
    names = tuple(nouns[0].__dataclass_fields__)
    columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*map(attrgetter(*names), nouns), strict=True), strict=True))
    for name, values in columns.items():
        kind = table.c[name].type
        # The columns' own conversions, so that a time without a zone is refused here too.
        convert = kind.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None and not isinstance(kind, Nested | JSON | LargeBinary):
            columns[name] = [convert(value) for value in values]
    return columns


def _copy_lines(table: Table, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Each row in the text format of COPY, without the end of its line."""
    fields = [_copy_fields(table.c[name], values) for name, values in columns.items()]
    return list(map(b"\t".join, zip(*fields, strict=True)))


def _copy_fields(column: Column[Any], values: Sequence[Any]) -> list[bytes]:
    kind = column.type.impl_instance if isinstance(column.type, TypeDecorator) else column.type
    match kind:
        case LargeBinary():
            return [NULL if value is None else rb"\\x" + value.hex().encode() for value in values]
        case String():
            return _text_fields(values)
        case JSON():
            # Backslashes are all there is to escape: JSON writes tabs and line ends inside a text as \t and \n.
            lines = json_lines(values).replace(b"\\", rb"\\")
        case _:
            # Numbers, booleans and times: without its quotes, JSON's text of them is PostgreSQL's.
            lines = json_lines(values).replace(b'"', b"")
    return [NULL if line == b"null" else line for line in lines.splitlines()]


def _text_fields(values: Sequence[str | None]) -> list[bytes]:
    # One search through all texts together: next to no column has anything to escape.
    together = "".join(filter(None, values))
    if any(mark in together for mark in "\\\t\n\r"):
        values = [value and _escaped(value) for value in values]
    return [NULL if value is None else value.encode() for value in values]


def _escaped(value: str) -> str:
    # Backslashes first, as those that the other replacements put in must stay single.
    return value.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


@contextmanager
def _copying(connection: Connection, statement: str) -> Iterator[Any]:
    """The driver's COPY; it raises SQLAlchemy's errors, as other statements do."""
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
