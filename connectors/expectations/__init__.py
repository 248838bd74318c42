"""The Great Expectations suite between snapshot and training, with failures that can be understood at 3 a.m.

Data Docs and failures hold counts, bounds and names of columns, never a value: feedback may contain anything.

rules      rules that every example keeps
bounds     bounds of numbers that are measured on the whole snapshot
run        both as expectations, and their results as Data Docs
"""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from connectors.expectations.bounds import FOREIGN, Bound, bounds_of, whole
from connectors.expectations.rules import RULES, each
from connectors.expectations.run import run
from loop.curation.snapshot import SCHEMA, table_of
from loop.errors import NotFoundError
from loop.imports import collector_off
from loop.settings import ValidationSettings
from loop.types import Split, Validation


def validate(folder: Path, settings: ValidationSettings, report: Mapping[str, int], docs: Path) -> Validation:
    """Judge whether the snapshot in `folder` may be trained on, and write Data Docs under `docs`.

    `report` counts what curation dropped and held back. Raises NotFoundError when `folder` lacks a table.
    """
    tables = [_read(folder / f"{split}.parquet") for split in Split]
    foreign = sum(_differences(table) for table in tables)
    schema = Bound("foreign_columns", foreign, 0, 0, "columns whose name or type is not a snapshot's", FOREIGN)
    # The other rules read the columns by name: on a foreign table they would end in an exception, not in a sentence.
    if foreign:
        suites = {"snapshot": whole([schema])}
    else:
        table = pl.concat(tables)
        bounds = bounds_of(table, settings, report)
        bounds.insert(0, schema)
        suites = {"snapshot": whole(bounds), "examples": (each(table), RULES)}
    with collector_off():
        failures = run(suites, docs)
    return Validation(snapshot_id=folder.name, passed=not failures, failures=tuple(failures), docs=str(docs))


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a snapshot that `nightshift curate` made")
    return table_of(path.read_bytes())


def _differences(table: pl.DataFrame) -> int:
    """Number of columns that are absent, unknown or of another type."""
    return sum(table.schema.get(name) != SCHEMA.get(name) for name in set(table.schema) | set(SCHEMA))
