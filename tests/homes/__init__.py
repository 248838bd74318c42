"""Small homes that earlier releases made, packed with their settings, base model and registry.

0.1.0: two decided nights, @1 promoted and approved, @2 promoted and rolled back, a skipped night, and a night that
was killed after its evaluation; `store-untrained.db` is the store as it was when that night had not trained yet.
"""

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

HERE = Path(__file__).parent
MADE_IN = {"0.1.0": "/tmp/nightshift-home-0.1.0"}  # noqa: S108 - where it lay when it was packed
PATHS = {"runs": "artifact_uri", "experiments": "artifact_location"}
"""Columns of MLflow that hold absolute paths."""


def unpack(release: str, folder: Path) -> Path:
    """The project folder of a release's home, moved to `folder`."""
    with tarfile.open(HERE / f"{release}.tar.xz") as packed:
        packed.extractall(folder, filter="data")
    settings = folder / "nightshift.toml"
    settings.write_text(settings.read_text().replace(MADE_IN[release], str(folder)))
    with closing(sqlite3.connect(folder / ".nightshift" / "mlflow.db")) as registry, registry:
        for table, column in PATHS.items():
            moved = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 - from the table above
            registry.execute(moved, (MADE_IN[release], str(folder)))
    return folder
