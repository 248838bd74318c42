"""Maps on disk of what can be computed again: a damaged one holds nothing, a new one is there whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_cache(file: Path) -> dict[str, Any]:
    """What is kept in `file`; nothing where it is absent or damaged."""
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def write_cache(file: Path, known: Mapping[str, object]) -> None:
    """Replace `file` in one move, whoever else does the same."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.stem}-")
    with os.fdopen(descriptor, "w") as building:
        json.dump(known, building)
    Path(temporary).replace(file)
