"""Fields of foreign rows that the formats of observability tools share: times, numbers, JSON kept as text."""

import json
import math
import re
from dataclasses import replace
from typing import Annotated

from pydantic import BeforeValidator, Field, JsonValue

from connectors.imports.reading.shapes import Time
from loop.types import Sampling

_BARE = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?")


def _in_utc(value: object) -> object:
    return f"{value}Z" if isinstance(value, str) and _BARE.fullmatch(value) else value


def _number(value: object) -> float | None:
    """The value as a finite number, also if it is written as text; None for anything else."""
    # A bool is an int to Python, but no setting of a request.
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    # Above 2**53 a float does not hold every whole number, so the digits would be others than those written.
    return int(number) if number is not None and abs(number) < 2**53 else None


UtcTime = Annotated[Time, BeforeValidator(_in_utc)]
"""A time: RFC 3339 text, Unix seconds, or a date and time without a zone, which ClickHouse writes in UTC."""
Number = Annotated[float | None, BeforeValidator(_number)]
Whole = Annotated[int | None, BeforeValidator(_whole)]
"""A setting of a request, which a row may have in any form: one that is no number is left out, not refused."""
Nanoseconds = Annotated[int, Field(strict=False, ge=0, lt=2**64)]
"""Nanoseconds since 1970, as a number or as text; 0 stands for an unknown time."""


def as_text(value: JsonValue) -> str:
    """A text as it is, any other value as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def sampling(
    temperature: float | None, top_p: float | None, max_tokens: int | None, seed: int | None
) -> Sampling | None:
    """The sampling of an answer; None without a temperature, because each provider has a default of its own."""
    if temperature is None:
        return None
    drawn = Sampling(temperature=temperature, seed=seed)
    drawn = drawn if top_p is None else replace(drawn, top_p=top_p)
    return drawn if max_tokens is None else replace(drawn, max_tokens=max_tokens)
