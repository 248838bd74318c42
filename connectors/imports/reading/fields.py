"""Fields of foreign rows, shared by the formats of observability tools: times, numbers, JSON kept as text."""

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
    """A finite number, also one written as text; anything else is not known."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and abs(number) < 2**53 else None


UtcTime = Annotated[Time, BeforeValidator(_in_utc)]
"""RFC 3339 text, Unix seconds, or the date and time without a zone that ClickHouse writes, which is UTC."""
Number = Annotated[float | None, BeforeValidator(_number)]
Whole = Annotated[int | None, BeforeValidator(_whole)]
"""Settings of a request that a row may have in any form; what is no number is left out, not refused."""
Nanoseconds = Annotated[int, Field(strict=False, ge=0, lt=2**64)]
"""Since 1970, as a number or as text; 0 is not known."""


def as_text(value: JsonValue) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def sampling(
    temperature: float | None, top_p: float | None, max_tokens: int | None, seed: int | None
) -> Sampling | None:
    """How an answer was drawn; None where the temperature is not known, because each provider has its own default."""
    if temperature is None:
        return None
    drawn = Sampling(temperature=temperature, seed=seed)
    drawn = drawn if top_p is None else replace(drawn, top_p=top_p)
    return drawn if max_tokens is None else replace(drawn, max_tokens=max_tokens)
