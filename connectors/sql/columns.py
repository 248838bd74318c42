"""Column types of the tables: a value comes back from the database equal to the one that the noun held."""

from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, String
from sqlalchemy.types import TypeDecorator

from loop.types import Outputs, Stage

BIG = BigInteger().with_variant(Integer(), "sqlite")
"""64 bits everywhere; SQLite's INTEGER has them and, as a primary key, is the row's own address."""

# None becomes SQL's NULL, as in the rows that `bulk` copies, and not the JSON text null.
PLAIN_JSON = JSON(none_as_null=True)


class Utc(TypeDecorator[datetime]):
    """An aware time, kept in UTC; SQLite does not store the zone, so it is added again on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The time in UTC. Raises ValueError for a naive one: nobody could say later which hour was meant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no timezone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """The time in UTC, whichever database it comes from."""
        if value is None:
            return None
        # SQLite returns naive times, PostgreSQL aware ones in the zone of the session.
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Word(TypeDecorator[StrEnum]):
    """A member of a StrEnum as its text, so that a new member needs no migration."""

    impl = String()
    cache_ok = True

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__()
        self.kind = kind

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """The member's value."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:  # noqa: ARG002
        """The member."""
        return None if value is None else self.kind(value)


class StageOutputs(TypeDecorator[Outputs]):
    """Outputs of a night as a JSON object with the text of each finished stage."""

    impl = PLAIN_JSON
    cache_ok = True

    def process_bind_param(self, value: Outputs | None, dialect: Dialect) -> dict[Stage, str] | None:  # noqa: ARG002
        """The texts by stage, in the order of the night."""
        return None if value is None else value.by_stage()

    def process_result_value(self, value: dict[str, str] | None, dialect: Dialect) -> Outputs | None:  # noqa: ARG002
        """The outputs."""
        return None if value is None else Outputs.of_stages({Stage(name): text for name, text in value.items()})


class Nested(TypeDecorator[Any]):
    """Dataclasses, tuples and mappings of them as JSON, written by the engine's serialiser (database.py)."""

    impl = PLAIN_JSON
    cache_ok = True

    def __init__(self, kind: type[Any]) -> None:
        super().__init__()
        self.kind = kind

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        optional: Any = self.kind | None
        return TypeAdapter(optional)

    def process_result_value(self, value: object, dialect: Dialect) -> object:  # noqa: ARG002
        """The JSON value as `kind`."""
        return None if value is None else self._adapter.validate_python(value)
