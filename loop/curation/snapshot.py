"""Snapshots: examples as an immutable, content-named dataset of three Parquet tables and a manifest in one folder."""

import hashlib
import json
import os
import shutil
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from loop.canonical import canonical
from loop.errors import IntegrityError, NotFoundError
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
    "branches": pl.List(pl.Struct({"response": _MESSAGE, "desirable": pl.Boolean, "weight": pl.Float64})),
    "split": pl.String,
    "cluster": pl.String,
    "tenant": pl.String,
    "conversation_id": pl.String,
    "observed_at": pl.Datetime("us", "UTC"),
    "event_ids": pl.List(pl.String),
    "verifiers": pl.List(pl.Struct({"kind": pl.String, "target": pl.String})),
}
"""Columns of the tables, one per field of an example: `SELECT prompt[-1].content FROM 'train.parquet'` in DuckDB."""


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
    table = pl.read_parquet(BytesIO(_verified(snapshot_folder(home, snapshot_id), split)))
    return tuple(_example(row) for row in table.iter_rows(named=True))


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
    digest = hashlib.sha256(canonical(of_curation(settings)))
    for example in examples:
        digest.update(b"\n" + canonical(example))
    return digest.hexdigest()


def _write_folder(folder: Path, snapshot: Snapshot, examples: Sequence[Example], settings: CurationSettings) -> None:
    """Build the folder beside its place, then rename it there; of two writers the second changes nothing."""
    # Beside, so that both are on one file system and the rename is atomic.
    draft = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    try:
        files = {}
        for split in Split:
            files[f"{split}.parquet"] = _table([example for example in examples if example.split is split])
        manifest = {
            **asdict(snapshot),
            "as_of": snapshot.as_of.isoformat(),
            "settings": of_curation(settings),
            "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }
        files[MANIFEST] = json.dumps(manifest, indent=2).encode()
        for name, content in files.items():
            _write_durably(draft / name, content)
        draft.chmod(0o755)  # mkdtemp's folders are for their owner alone
        draft.rename(folder)
    except OSError:
        if not folder.exists():  # where it exists another process was first, with the same content
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _table(examples: Sequence[Example]) -> bytes:
    buffer = BytesIO()
    pl.DataFrame([asdict(example) for example in examples], schema=SCHEMA).write_parquet(buffer)
    return buffer.getvalue()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())  # before the rename: after a power cut the folder must not hold empty files


def _verified(folder: Path, split: Split) -> bytes:
    name = f"{split}.parquet"
    try:
        recorded = json.loads((folder / MANIFEST).read_bytes())["files"][name]
        content = (folder / name).read_bytes()
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"{folder / MANIFEST} is damaged", "restore it, or move the folder away and run `nightshift curate` again"
        ) from error
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{error.filename} does not exist: no such snapshot was made, or it was pruned",
            "name another, or make it again: `nightshift curate` with the same --as-of",
        ) from error
    if hashlib.sha256(content).hexdigest() != recorded:
        remedy = "restore it, or move the folder away and run `nightshift curate` with the same --as-of again"
        raise IntegrityError(f"{folder / name} is not the table its manifest names", remedy)
    return content


def _example(row: dict[str, Any]) -> Example:
    return Example(
        example_id=row["example_id"],
        objective=Objective(row["objective"]),
        signal=FeedbackKind(row["signal"]),
        prompt=tuple(_message(message) for message in row["prompt"]),
        branches=tuple(Branch(_message(b["response"]), b["desirable"], b["weight"]) for b in row["branches"]),
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
