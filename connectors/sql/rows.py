"""Conversion between a noun of `loop.types` and its row: columns are named like fields, so one function does all."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, select

from connectors.sql.database import insert

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Noun = TypeVar("Noun", bound="DataclassInstance")

CHUNK = 1_000
"""Rows fetched at a time, so that a whole table can be read without being held in memory."""


def row_of(noun: "DataclassInstance") -> dict[str, Any]:
    """The fields of a noun by name; nested dataclasses stay as they are."""
    # Not dataclasses.asdict, which would copy nested dataclasses into dicts: the serialiser takes them as they are.
    return {name: getattr(noun, name) for name in noun.__dataclass_fields__}


def read(
    connection: Connection, table: Table, kind: type[Noun], *where: ColumnElement[bool], order: tuple[str, ...] = ()
) -> Iterator[Noun]:
    """The rows of `table` as nouns of `kind`, in chunks."""
    names = tuple(kind.__dataclass_fields__)
    columns = [table.c[name] for name in names]
    chosen = select(*columns).where(*where)
    for name in order:
        chosen = chosen.order_by(table.c[name])
    # yield_per holds a cursor open, which has to be closed also when the caller stops reading early.
    with connection.execute(chosen.execution_options(yield_per=CHUNK)) as found:
        for row in found:
            yield kind(**dict(zip(names, row, strict=True)))


def save(connection: Connection, table: Table, noun: "DataclassInstance") -> None:
    """Insert a noun, or replace the row with the same primary key."""
    fresh = insert(connection, table).values(row_of(noun))
    rest = {column.name: fresh.excluded[column.name] for column in table.c if not column.primary_key}
    connection.execute(fresh.on_conflict_do_update(index_elements=list(table.primary_key), set_=rest))
