"""Canonical JSON, so that equal values have equal bytes and one sha256: everything with an id is hashed here."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path


def canonical(value: object) -> bytes:
    """The value as ASCII JSON with sorted keys and no spaces.

    Dataclasses become objects, times ISO 8601 in UTC, paths text. Raises TypeError for a value without a JSON form and
    ValueError for numbers that are not finite.
    """
    # Ids and the ledger's hashes rest on this text: any change of it would make all that is stored look altered.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode("ascii")


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, datetime):  # the moment is hashed, not the zone that it was written in
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):  # of other types than dict, which json knows itself
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
