from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from loop.canonical import canonical, digest


@dataclass(frozen=True)
class Point:
    x: float
    at: datetime


def test_equal_values_have_equal_bytes_however_they_were_built() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    elsewhere = noon.astimezone(timezone(timedelta(hours=5)))

    assert canonical({"b": 1, "a": (Point(1.0, noon), "ä")}) == canonical({"a": [Point(1.0, elsewhere), "ä"], "b": 1})
    assert canonical({"b": Path("x/y"), "a": None}) == b'{"a":null,"b":"x/y"}'


def test_different_values_have_different_digests() -> None:
    assert digest(["a", "b"]) != digest(["ab"])
    assert len(digest(None)) == 64


@pytest.mark.parametrize(("value", "error"), [(float("nan"), ValueError), ({1, 2}, TypeError), (object(), TypeError)])
def test_what_has_no_json_form_is_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error):
        canonical(value)
