"""Snapshots: examples as an immutable dataset named by its content: three Parquet tables and a manifest in a folder."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from loop.curation.examples import content
from loop.errors import IntegrityError, NotFoundError
from loop.files import whole_folder
from loop.hashing import canonical, sha256_of, sha256_of_all
from loop.home import MANIFEST, snapshot_folder
from loop.settings import CurationSettings, of_curation
from loop.types import (
    Branch,
    Example,
    FeedbackKind,
    Message,
    Objective,
    Snapshot,
    Split,
    ToolCall,
    Verifier,
    VerifierKind,
)

_MESSAGE = pl.Struct(
    {
        "role": pl.String,
        "content": pl.String,
        "tool_calls": pl.List(pl.Struct({"call_id": pl.String, "name": pl.String, "arguments": pl.String})),
        "tool_call_id": pl.String,
    }
)
SCHEMA: Mapping[str, pl.DataType | type[pl.DataType]] = {
    "example_id": pl.String,
    "objective": pl.String,
    "signal": pl.String,
    "prompt": pl.List(_MESSAGE),
    "branches": pl.List(pl.Struct({"response": _MESSAGE, "score": pl.Float64})),
    "split": pl.String,
    "cluster": pl.String,
    "tenant": pl.String,
    "conversation_id": pl.String,
    "observed_at": pl.Datetime("us", "UTC"),
    "event_ids": pl.List(pl.String),
    "verifiers": pl.List(pl.Struct({"kind": pl.String, "target": pl.String})),
}
"""Columns of the tables, one per field of an example: `SELECT prompt[-1].content FROM 'train.parquet'` in DuckDB."""
UNSIGNED = pl.List(pl.Struct({"response": _MESSAGE, "desirable": pl.Boolean, "weight": pl.Float64}))
"""Type of the branches in tables that 0.1.0 wrote, and the code after it until branches had a score."""


def write(
    examples: Sequence[Example], report: Mapping[str, int], settings: CurationSettings, as_of: datetime, home: Path
) -> Snapshot:
    """Write `<home>/snapshots/<snapshot_id>/` in one move, unless it is already there.

    The id is the sha256 of the examples and of how they were curated, but neither of `as_of` nor of the Parquet bytes.
    """
    ordered = sorted(examples, key=lambda example: (example.observed_at, example.example_id))
    snapshot = Snapshot(
        snapshot_id=_identify(ordered, settings),
        as_of=as_of,
        counts=dict(sorted(Counter(f"{e.split}/{e.objective}" for e in ordered).items())),
        curation=dict(report),
    )
    folder = snapshot_folder(home, snapshot.snapshot_id)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if not folder.exists():
        _write_folder(folder, snapshot, ordered, settings)
    return snapshot


def read(home: Path, snapshot_id: str, split: Split) -> tuple[Example, ...]:
    """The examples of one split, oldest first.

    Raises NotFoundError for an unknown id, IntegrityError when the table is not the one the manifest names.
    """
    # The bytes that were hashed are the bytes that are read: the file is not opened a second time.
    table = table_of(_verified(snapshot_folder(home, snapshot_id), split))
    return tuple(_example(row) for row in table.iter_rows(named=True))


def table_of(stored: bytes) -> pl.DataFrame:
    """The table in a Parquet file of a snapshot; where its branches have no score yet, with their scores."""
    table = pl.read_parquet(BytesIO(stored))
    if table.schema.get("branches") != UNSIGNED:
        return table
    branch = pl.element().struct
    weight = branch.field("weight")
    score = pl.when(branch.field("desirable")).then(weight).otherwise(-weight)
    signed = pl.struct(branch.field("response"), score.alias("score"))
    return table.with_columns(pl.col("branches").list.eval(signed))


def verify(home: Path, snapshot_id: str) -> None:
    """Check that all tables are the ones the manifest names. Raises like `read`."""
    for split in Split:
        _verified(snapshot_folder(home, snapshot_id), split)


def lineage(home: Path, snapshot_id: str) -> dict[str, tuple[str, ...]]:
    """Ids of the examples made from each interaction and feedback of a snapshot, by its id. Raises like `read`."""
    made = defaultdict(list)
    for split in Split:
        table = pl.read_parquet(BytesIO(_verified(snapshot_folder(home, snapshot_id), split)))
        for example_id, event_ids in table.select("example_id", "event_ids").iter_rows():
            for event_id in event_ids:
                made[event_id].append(example_id)
    return {event_id: tuple(example_ids) for event_id, example_ids in sorted(made.items())}


def _identify(examples: Sequence[Example], settings: CurationSettings) -> str:
    return sha256_of_all(_lines(examples, settings))


def _lines(examples: Sequence[Example], settings: CurationSettings) -> Iterator[bytes]:
    yield canonical(of_curation(settings))
    for example in examples:
        yield b"\n" + canonical(content(example))


def _write_folder(folder: Path, snapshot: Snapshot, examples: Sequence[Example], settings: CurationSettings) -> None:
    tables = {}
    for split in Split:
        tables[f"{split}.parquet"] = _table([example for example in examples if example.split is split])
    manifest = {
        **asdict(snapshot),
        "as_of": snapshot.as_of.isoformat(),
        "settings": of_curation(settings),
        "files": {name: sha256_of(content) for name, content in tables.items()},
    }
    with whole_folder(folder) as building:
        for name, content in tables.items():
            (building / name).write_bytes(content)
        (building / MANIFEST).write_text(json.dumps(manifest, indent=2))


def _table(examples: Sequence[Example]) -> bytes:
    buffer = BytesIO()
    pl.DataFrame([asdict(example) for example in examples], schema=SCHEMA).write_parquet(buffer)
    return buffer.getvalue()


def _verified(folder: Path, split: Split) -> bytes:
    name = f"{split}.parquet"
    try:
        recorded = json.loads((folder / MANIFEST).read_bytes())["files"][name]
        stored = (folder / name).read_bytes()
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{folder / MANIFEST} is damaged", "restore it, or move the folder away and run `nightshift curate` again"
        ) from error
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{error.filename} does not exist: no such snapshot was made, or it was pruned",
            "name another, or make it again: `nightshift curate` with the same --as-of",
        ) from error
    if sha256_of(stored) != recorded:
        remedy = "restore it, or move the folder away and run `nightshift curate` with the same --as-of again"
        raise IntegrityError(f"{folder / name} is not the table its manifest names", remedy)
    return stored


def _example(row: dict[str, Any]) -> Example:
    return Example(
        example_id=row["example_id"],
        objective=Objective(row["objective"]),
        signal=FeedbackKind(row["signal"]),
        prompt=tuple(_message(message) for message in row["prompt"]),
        branches=tuple(Branch(_message(branch["response"]), branch["score"]) for branch in row["branches"]),
        split=Split(row["split"]),
        cluster=row["cluster"],
        tenant=row["tenant"],
        conversation_id=row["conversation_id"],
        observed_at=row["observed_at"],
        event_ids=tuple(row["event_ids"]),
        verifiers=tuple(Verifier(VerifierKind(v["kind"]), v["target"]) for v in row["verifiers"]),
    )


def _message(row: dict[str, Any]) -> Message:
    calls = tuple(
        ToolCall(call_id=call["call_id"], name=call["name"], arguments=call["arguments"]) for call in row["tool_calls"]
    )
    return Message(row["role"], row["content"], calls, row["tool_call_id"])
