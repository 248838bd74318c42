"""Many rows into one table as fast as the database takes them, leaving out those it has seen before.

What Python has to do is done before the transaction: rows become text. The database takes it apart by itself, without
waiting for Python's lock, while the next batch is parsed.
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
"""Fewer rows are faster as INSERT."""
FLUSH_BYTES = 1 << 24
"""Sent before the driver waits for the server."""

NULL = rb"\N"
BY_INDEX = "SET LOCAL enable_seqscan = off"
"""A plan made while the table was small would go through all of it, id by id, until the next autovacuum."""

Nouns = Sequence["DataclassInstance"]


class Load(Protocol):
    """Rows of one table, ready to be inserted; after an error they can be inserted again."""

    count: int

    def insert(self, connection: Connection, sequence: int) -> int:
        """Insert the rows, numbered from `sequence`, unless their identity was seen; returns how many were new.

        The transaction must hold a lock that keeps others from inserting into the table.
        """


def load(dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> Load:
    """`nouns`, all of one kind, for `table`; of several with one `identity` the first is kept, or what is there."""
    if len(nouns) < FEW:
        return _Few(table, nouns, identity)
    if is_postgresql(dialect):
        return _Copied(dialect, table, nouns, identity)
    if any(isinstance(column.type, LargeBinary) for column in table.c):
        return _Few(table, nouns, identity)
    return _Listed(dialect, table, nouns, identity)


class _Few:
    """INSERT of row after row."""

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
    """PostgreSQL: COPY of what the table does not have."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        columns = _columns(dialect, table, nouns)
        keys = zip(*(columns[name] for name in identity), strict=True)
        self._lines: dict[tuple[Any, ...], bytes] = {}
        for key, line in zip(keys, _copy_lines(table, columns), strict=True):
            self._lines.setdefault(key, line)
        quote = dialect.identifier_preparer.quote
        target, names = quote(table.name), ", ".join(map(quote, columns))
        first, identified = quote(identity[0]), ", ".join(map(quote, identity))
        asked = "ARRAY(SELECT json_array_elements_text(%s))"
        self._seen = f"SELECT {identified} FROM {target} WHERE {first} = ANY({asked})"  # noqa: S608 - our names
        self._copy = f"COPY {target} ({names}, sequence) FROM STDIN"

    def insert(self, connection: Connection, sequence: int) -> int:
        connection.exec_driver_sql(BY_INDEX)
        asked = json_lines([[first for first, *_ in self._lines]]).decode()
        seen = set(map(tuple, connection.exec_driver_sql(self._seen, (asked,))))
        fresh = [line for key, line in self._lines.items() if key not in seen]
        if not fresh:
            return 0
        ends = [b"\t%d\n" % number for number in range(sequence, sequence + len(fresh))]
        with _copying(connection, self._copy) as copy:
            copy.write(b"".join(chain.from_iterable(zip(fresh, ends, strict=True))))
        return len(fresh)


class _Listed:
    """SQLite: all rows as one JSON text, which one INSERT takes apart."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        columns = _columns(dialect, table, nouns)
        self._text = json_lines([list(zip(*columns.values(), strict=True))]).decode()
        quote = dialect.identifier_preparer.quote
        names = ", ".join(map(quote, columns))
        values = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(columns)))
        self._insert = (
            f"INSERT INTO {quote(table.name)} (sequence, {names}) SELECT ? + key, {values} FROM json_each(?) "  # noqa: S608 - our names
            f"WHERE true ORDER BY key ON CONFLICT ({', '.join(map(quote, identity))}) DO NOTHING"
        )

    def insert(self, connection: Connection, sequence: int) -> int:
        return connection.exec_driver_sql(self._insert, (sequence, self._text)).rowcount


def _columns(dialect: Dialect, table: Table, nouns: Nouns) -> dict[str, Sequence[Any]]:
    """The fields of `nouns` by name, as an INSERT would convert them; what becomes JSON or is bytes stays as it is."""
    names = tuple(nouns[0].__dataclass_fields__)
    columns: dict[str, Sequence[Any]] = dict(zip(names, zip(*map(attrgetter(*names), nouns), strict=True), strict=True))
    for name, values in columns.items():
        kind = table.c[name].type
        convert = kind.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None and not isinstance(kind, Nested | JSON | LargeBinary):
            columns[name] = [convert(value) for value in values]
    return columns


def _copy_lines(table: Table, columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """Each row in the text format of COPY, without its end."""
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
            lines = json_lines(values).replace(b"\\", rb"\\")
        case _:
            lines = json_lines(values).replace(b'"', b"")
    return [NULL if line == b"null" else line for line in lines.splitlines()]


def _text_fields(values: Sequence[str | None]) -> list[bytes]:
    together = "".join(filter(None, values))
    if any(mark in together for mark in "\\\t\n\r"):
        values = [value and _escaped(value) for value in values]
    return [NULL if value is None else value.encode() for value in values]


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


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
