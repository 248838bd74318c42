"""Maps on disk of what can be computed again: a damaged one holds nothing, a new one is there whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any


def read_cache(file: Path) -> dict[str, Any]:
    """What is kept in `file`; nothing where it is absent or damaged."""
    try:
        content = json.loads(file.read_text())
        known = dict(content["known"])
        return known if content["sha256"] == _digest(known) else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write_cache(file: Path, known: Mapping[str, object]) -> None:
    """Replace `file` in one move, whoever else does the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")
    with os.fdopen(descriptor, "w") as building:
        json.dump({"sha256": _digest(known), "known": known}, building)
    Path(temporary).replace(file)


def _digest(known: Mapping[str, object]) -> str:
    return sha256(json.dumps(known).encode()).hexdigest()
