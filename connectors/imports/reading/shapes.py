"""Pydantic models for foreign logs, as strict about types as the wire contract, and as tolerant of unknown fields."""

import json
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)

from loop.errors import EventError
from loop.intake import wire

T = TypeVar("T")
Item = TypeVar("Item")

_SHAPE = "function-plain["
"""Beginning of pydantic's name for a choice of a union that is a shape of the wire contract."""


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    # At any depth; json raises the ValueError that a validator has to raise.
    if value:
        json.dumps(value, allow_nan=False)
    return value


def _as(shape: object) -> Callable[[object], Any]:
    """A validator that reads a shape of the wire contract inside a foreign model: its bounds are said there alone."""

    def read(value: object) -> Any:  # noqa: ANN401 - whatever `shape` says
        try:
            return msgspec.convert(value, type=shape)
        except msgspec.ValidationError as error:
            raise ValueError(wire.placed(error)) from error

    return read


Time = Annotated[AwareDatetime, Field(strict=False), AfterValidator(wire.to_utc)]
"""A time: RFC 3339 text or Unix seconds."""
Name = Annotated[str, PlainValidator(_as(wire.Name))]
Int64 = Annotated[int, PlainValidator(_as(wire.Int64))]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_finite)]
Many = Annotated[list[Item], Field(fail_fast=True)]
"""A list that is refused at its first fault: every further fault would be reported too, at a kilobyte each."""
ChatMessage = Annotated[wire.ChatMessage, PlainValidator(_as(wire.ChatMessage))]
ChatAnswer = Annotated[wire.ChatAnswer, PlainValidator(_as(wire.ChatAnswer))]


class Shape(BaseModel):
    """Base of the models: no coercion of types, unknown fields ignored, only finite numbers."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def validate(shape: TypeAdapter[T], payload: bytes) -> T:
    """JSON bytes as `shape`. Raises EventError if they are too large, not JSON, not storable or of another shape."""
    wire.require_storable(payload)
    try:
        return shape.validate_json(payload)
    except ValidationError as error:
        raise EventError(_reason(error), wire.REMEDY) from error


def _reason(error: ValidationError) -> str:
    # Without the input: a reason is shown to people, and the input is what a user wrote.
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    reasons = []
    for fault in faults:
        # How a choice of a union is called is no place in the line.
        place = ".".join(str(part) for part in fault["loc"] if _SHAPE not in str(part))
        reasons.append(f"{place}: {fault['msg']}" if place else fault["msg"])
    return "; ".join(reasons).replace("Value error, ", "")[: wire.MAX_REASON_CHARS]
