"""Caches on disk, for values that can be computed again: written in one move, and empty where they are damaged."""

import json
import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any


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
    file.parent.mkdir(parents=True, exist_ok=True)
    # Beside the file, so that the replacement is a rename within one file system.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")
    with os.fdopen(descriptor, "w") as building:
        json.dump({"sha256": _digest(known), "known": known}, building)
    Path(temporary).replace(file)


def _digest(known: Mapping[str, object]) -> str:
    # JSON keeps the order of keys, so the values read back have the digest of those written.
    return sha256(json.dumps(known).encode()).hexdigest()
