"""Small homes that earlier code made, packed with their settings, base model and registry; `__main__` makes one.

Each has two decided nights, @1 promoted and approved, @2 promoted and rolled back, a skipped night, and a night that
was killed after its evaluation; `store-untrained.db` is the store as it was when that night had not trained yet.
"""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

from loop.settings.migrate import migrated

HERE = Path(__file__).parent
NAMES = sorted(packed.name.removesuffix(".tar.xz") for packed in HERE.glob("*.tar.xz"))
"""A release, or the day of a commit between two releases."""
SEED = ("--set", "training.seed=2")
"""The night that was left open had this seed."""
PATHS = {"runs": "artifact_uri", "experiments": "artifact_location"}
"""Columns of MLflow that hold absolute paths."""


def made_in(name: str) -> str:
    """Where the home lay when it was packed."""
    return f"/tmp/nightshift-home-{name}"  # noqa: S108 - settings and MLflow hold the absolute path, so it is fixed


def unpack(name: str, folder: Path) -> Path:
    """The project folder of a home, moved to `folder`."""
    with tarfile.open(HERE / f"{name}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    settings = folder / "nightshift.toml"
    settings.write_text(settings.read_text().replace(made_in(name), str(folder)))
    with closing(sqlite3.connect(folder / ".nightshift" / "mlflow.db")) as registry, registry:
        for table, column in PATHS.items():
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 - from the table above
            registry.execute(moved, (made_in(name), str(folder)))
    return folder


def unpack_for_today(name: str, folder: Path) -> Path:
    """The same with today's keys in its settings file, as after `nightshift init --migrate`."""
    settings = unpack(name, folder) / "nightshift.toml"
    settings.write_text(migrated(settings.read_text()).text)
    return folder
