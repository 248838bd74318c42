"""Caches on disk, for values that can be computed again: written in one move, and empty where they are damaged."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loop.files import write_text
from loop.hashing import sha256_of


def read_cache(file: Path) -> dict[str, Any]:
    """The values kept in `file`; none where it is absent or damaged."""
    try:
        content = json.loads(file.read_text())
        known = dict(content["known"])
        # One wrong bit may still be valid JSON: a wrong value would be trained on or judged by.
        return known if content["sha256"] == _digest(known) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write_cache(file: Path, known: Mapping[str, object]) -> None:
    """Replace `file` in one move, also while other processes do so."""
    write_text(file, json.dumps({"sha256": _digest(known), "known": known}))


def _digest(known: Mapping[str, object]) -> str:
    # JSON keeps the order of keys, so the values read back have the digest of those written.
    return sha256_of(json.dumps(known))
