"""What a setting may be: marks that pydantic reads when a file is loaded, so that the sections need no pydantic."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Between:
    """Bounds of a number; pydantic asks the mark itself, so that this module needs none."""

    low: float
    high: float | None = None

    def __get_pydantic_core_schema__(
        self, source: type, handler: Callable[[type], dict[str, object]]
    ) -> dict[str, object]:
        """The schema of the number with both bounds in it."""
        bounds = {"ge": self.low, **({} if self.high is None else {"le": self.high})}
        schema = handler(source)
        finite = {"allow_inf_nan": False} if schema["type"] == "float" else {}
        return {**schema, **bounds, **finite}


@dataclass(frozen=True, slots=True)
class Matching:
    """Pattern of a text, brought to pydantic as `Between` is."""

    pattern: str

    def __get_pydantic_core_schema__(
        self, source: type, handler: Callable[[type], dict[str, object]]
    ) -> dict[str, object]:
        """The schema of the text with the pattern in it."""
        return {**handler(source), "pattern": self.pattern}


Share = Annotated[float, Between(0.0, 1.0)]
Amount = Annotated[float, Between(0.0)]
Count = Annotated[int, Between(0)]
Some = Annotated[int, Between(1)]
Days = Annotated[float, Between(0.0, 36_500.0)]
