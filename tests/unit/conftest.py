"""What several unit tests share."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.imports import read
from loop.types import Event
from tests.builders import KEY


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., list[Event]]:
    """A function that writes lines into a file and reads the file as one of the import formats."""

    def events(format_name: str, *lines: object, name: str = "log.jsonl") -> list[Event]:
        path = tmp_path / name
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
        return list(read(path, format_name, secret=KEY))

    return events
