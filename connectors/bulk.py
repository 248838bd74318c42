"""Many rows into one table as fast as the database takes them, leaving out those it has seen before.

What Python has to do is done before the transaction: all rows as one text. The database takes it apart by itself,
without waiting for Python's lock, while the next batch is parsed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import JSON, Column, Connection, Dialect, LargeBinary, Table
from sqlalchemy.exc import DBAPIError

from connectors.columns import Nested
from connectors.database import insert, is_postgresql, json_text
from connectors.rows import row_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

FEW = 200
"""Fewer rows are faster as INSERT."""
FLUSH_BYTES = 1 << 24
"""Sent before the driver waits for the server."""

Nouns = Sequence["DataclassInstance"]


class Load(Protocol):
    """Rows of one table, ready to be inserted; after an error they can be inserted again."""

    count: int

    def stage(self, connection: Connection) -> None:
        """What can be done before other transactions have to wait for this one."""

    def insert(self, connection: Connection, sequence: int) -> int:
        """Insert the rows, numbered from `sequence`, unless their identity was seen; returns how many were new."""


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

    def stage(self, connection: Connection) -> None:
        """Nothing."""

    def insert(self, connection: Connection, sequence: int) -> int:
        if not self._rows:
            return 0
        new_only = insert(connection, self._table).on_conflict_do_nothing(index_elements=self._identity)
        rows = [row | {"sequence": number} for number, row in enumerate(self._rows, start=sequence)]
        return connection.execute(new_only, rows).rowcount


class _Copied:
    """PostgreSQL: COPY into a temporary table, from there INSERT."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        rows = _rows(dialect, table, nouns)
        names = list(rows[0])
        texts = [_copy_text(table.c[name]) for name in names]
        lines = [
            "\t".join([text(value) for text, value in zip(texts, row.values(), strict=True)]) + f"\t{number}\n"
            for number, row in enumerate(rows)
        ]
        self._text = "".join(lines).encode()
        quote = dialect.identifier_preparer.quote
        columns, target, staging = ", ".join(map(quote, names)), quote(table.name), quote(f"incoming_{table.name}")
        self._create = f"CREATE TEMPORARY TABLE IF NOT EXISTS {staging} (LIKE {target}) ON COMMIT DELETE ROWS"
        self._copy = f"COPY {staging} ({columns}, sequence) FROM STDIN"
        self._insert = (
            f"INSERT INTO {target} ({columns}, sequence) SELECT {columns}, sequence + %s FROM {staging} "  # noqa: S608 - our names
            f"ORDER BY sequence ON CONFLICT ({', '.join(map(quote, identity))}) DO NOTHING"
        )

    def stage(self, connection: Connection) -> None:
        connection.exec_driver_sql(self._create)
        with _copying(connection, self._copy) as copy:
            copy.write(self._text)

    def insert(self, connection: Connection, sequence: int) -> int:
        return connection.exec_driver_sql(self._insert, (sequence,)).rowcount


class _Listed:
    """SQLite: all rows as one JSON text, which one INSERT takes apart."""

    def __init__(self, dialect: Dialect, table: Table, nouns: Nouns, identity: Sequence[str]) -> None:
        self.count = len(nouns)
        rows = _rows(dialect, table, nouns)
        names = list(rows[0])
        self._text = json_text(rows)
        quote = dialect.identifier_preparer.quote
        columns = ", ".join(map(quote, names))
        values = ", ".join(f"json_extract(value, '$.{name}')" for name in names)
        self._insert = (
            f"INSERT INTO {quote(table.name)} (sequence, {columns}) SELECT ? + key, {values} FROM json_each(?) "  # noqa: S608 - our names
            f"WHERE true ORDER BY key ON CONFLICT ({', '.join(map(quote, identity))}) DO NOTHING"
        )

    def stage(self, connection: Connection) -> None:
        """Nothing: SQLite has one writer at a time."""

    def insert(self, connection: Connection, sequence: int) -> int:
        return connection.exec_driver_sql(self._insert, (sequence, self._text)).rowcount


def _rows(dialect: Dialect, table: Table, nouns: Nouns) -> list[dict[str, Any]]:
    """The fields of `nouns` as an INSERT would convert them; what becomes JSON or are bytes is left as it is."""
    rows = [row_of(noun) for noun in nouns]
    for name in rows[0]:
        kind = table.c[name].type
        convert = kind.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None and not isinstance(kind, Nested | JSON | LargeBinary):
            for row in rows:
                row[name] = convert(row[name])
    return rows


def _copy_text(column: Column[Any]) -> Callable[[Any], str]:
    """What writes a value of `column` as the text format of COPY has it."""
    return _json_field if isinstance(column.type, Nested | JSON) else _field


def _json_field(value: object) -> str:
    return r"\N" if value is None else json_text(value).replace("\\", r"\\")


def _field(value: object) -> str:
    if value is None:
        return r"\N"
    text = rf"\x{value.hex()}" if isinstance(value, bytes) else str(value)
    return text.replace("\\", r"\\").replace("\t", r"\t").replace("\n", r"\n").replace("\r", r"\r")


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
