"""Bounds of settings: marks that pydantic reads when a file is loaded, so that the sections need no pydantic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number, both allowed; pydantic asks the mark for its schema, so this module imports no pydantic."""

    low: float
    high: float | None = None

    def __get_pydantic_core_schema__(
        self, source: type, handler: Callable[[type], dict[str, object]]
    ) -> dict[str, object]:
        """The schema of the number with its bounds."""
        bounds = {"ge": self.low, **({} if self.high is None else {"le": self.high})}
        schema = handler(source)
        # Infinity is above every lower bound, and NaN compares with none; a whole number can be neither.
        finite = {"allow_inf_nan": False} if schema["type"] == "float" else {}
        return {**schema, **bounds, **finite}


@dataclass(frozen=True, slots=True)
class Matching:
    """Pattern that a text has to match; pydantic reads it as it reads `Between`."""

    pattern: str

    def __get_pydantic_core_schema__(
        self, source: type, handler: Callable[[type], dict[str, object]]
    ) -> dict[str, object]:
        """The schema of the text with its pattern."""
        return {**handler(source), "pattern": self.pattern}


Share = Annotated[float, Between(0.0, 1.0)]
Amount = Annotated[float, Between(0.0)]
Count = Annotated[int, Between(0)]
Some = Annotated[int, Between(1)]
Days = Annotated[float, Between(0.0, 36_500.0)]
