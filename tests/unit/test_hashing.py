from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from loop.hashing import adapter_sha256, canonical, digest, file_sha256, sha256_of, sha256_of_all
from loop.intake.events import dead_letter, pseudonym
from loop.models import fingerprint


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


def test_hashes_of_what_is_stored_never_change(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"x" * 3_000_000)
    assert adapter_sha256(tmp_path) == "61b8ffa4cf1e4427ce14b0f6d2d5fbe7cba749104276ee39d69390d5e80d1d07"
    (tmp_path / "config.json").write_text('{"a":1}')
    assert fingerprint(tmp_path) == "658c326b33c468994aafcebcf3028167a4bf6f337ec3505c1f59f2d6580d48bc"
    letter = dead_letter("s", 3, "r", b"\xff")
    assert letter.letter_id == "e3a7edc2b7dcddea2a8ca0e1eb9a1e1243862eab261fd9e39caab92943b287a7"
    assert pseudonym("k", "u") == "b841e0889970cfa4193f1c8d44e1e4fb"


def test_a_file_and_its_parts_have_the_hash_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes("aä".encode())
    assert file_sha256(tmp_path / "file") == sha256_of("aä") == sha256_of(b"a", "ä") == sha256_of_all(iter(["a", "ä"]))
