"""What a candidate was made from, beside its weights: manifest.json, written last, so that it also says `finished`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from importlib.metadata import version
from math import fsum, isfinite
from pathlib import Path

from loop.canonical import canonical
from loop.errors import NotFoundError
from loop.home import MANIFEST
from loop.types import Candidate, Json

VERSIONED = ("torch", "transformers", "peft")


def finished(folder: Path) -> bool:
    """Whether the training in `folder` has finished."""
    return (folder / MANIFEST).exists()


def write(folder: Path, candidate: Candidate, machine: Mapping[str, Json]) -> None:
    """Put the manifest in place in one move; `machine` is what was chosen for the machine that trained."""
    content = {
        **asdict(candidate),
        "machine": machine,
        "versions": {package: version(package) for package in VERSIONED},
    }
    building = folder / f"{MANIFEST}.part"
    building.write_bytes(canonical(content))
    building.replace(folder / MANIFEST)


def read(folder: Path) -> Candidate:
    """The candidate in `folder`. Raises NotFoundError when its training has not finished."""
    if not finished(folder):
        raise NotFoundError(
            f"{folder} holds no finished candidate", "run the training again: it goes on where it stopped"
        )
    content = json.loads((folder / MANIFEST).read_text())
    return Candidate(**{field.name: content[field.name] for field in fields(Candidate)})


def last_quarter(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the last quarter of the steps."""
    tail = history[-max(1, len(history) // 4) :]
    names = dict.fromkeys(name for metrics in tail for name in metrics)
    values = {name: [m[name] for m in tail if isfinite(m.get(name, float("nan")))] for name in names}
    return {name: fsum(found) / len(found) for name, found in values.items() if found}
