"""Manifest of a candidate, beside its weights: its origin. Written last, it also marks a finished training."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path

from loop import files
from loop.errors import NotFoundError
from loop.hashing import canonical
from loop.home import MANIFEST
from loop.types import Candidate, Json

VERSIONED = ("torch", "transformers", "peft")
"""Packages whose versions the manifest names."""


def finished(folder: Path) -> bool:
    """Whether the training in `folder` has finished."""
    return (folder / MANIFEST).exists()


def write(folder: Path, candidate: Candidate, machine: Mapping[str, Json]) -> None:
    """Write the manifest in one move; `machine` holds the choices made for the machine that trained."""
    content = {
        **asdict(candidate),
        "machine": machine,
        "versions": {package: version(package) for package in VERSIONED},
    }
    # Whole or not at all: a half-written manifest would count as a finished training.
    files.write(folder / MANIFEST, canonical(content))


def read(folder: Path) -> Candidate:
    """The candidate in `folder`. Raises NotFoundError when its training has not finished."""
    if not finished(folder):
        raise NotFoundError(
            f"{folder} holds no finished candidate", "run the training again: it goes on where it stopped"
        )
    content = json.loads((folder / MANIFEST).read_text())
    return Candidate(**{field.name: content[field.name] for field in fields(Candidate)})
