"""Removal of files that no ledger row and no kept night needs any more; the registry is left alone."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loop import promotion
from loop.errors import IntegrityError
from loop.home import ANSWERS, CANDIDATES, DOCS, DOWNLOADS, JOBS, MANIFEST, REFERENCE, SNAPSHOTS
from loop.ports import Ledger, NightStore
from loop.types import Night, Promotion

FOLDERS = (CANDIDATES, JOBS, SNAPSHOTS, DOCS, DOWNLOADS, REFERENCE, ANSWERS)
"""Folders below the home, with an entry for each id, or in the caches for each model."""
REMOVED = ".pruned-"
"""Prefix of an entry that is being deleted: a prune that is killed leaves it, and the next one goes on with it."""


@dataclass(frozen=True, slots=True)
class Unneeded:
    """A file or folder that may go."""

    folder: str
    """The one of `FOLDERS` that it is in."""
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Needed:
    """Files that have to stay."""

    names: Mapping[str, frozenset[str]]
    """Names of the entries that stay, by folder."""
    since: float
    """Start of the oldest kept night in seconds since 1970: files written later stay, also those made by hand."""
    open: bool
    """Whether a night is open: it may go on with any training that has not ended."""


def unneeded(home: Path, store: NightStore, ledger: Ledger, keep: int) -> tuple[Unneeded, ...]:
    """Entries that neither ledger, nor the newest `keep` nights, nor an open night needs; none before the first night.

    Needed are the candidates that a ledger row names, everything that kept nights made, the snapshots and jobs of both,
    and the downloads of the anchor and of every champion that a rollback can reach. Files written since the oldest kept
    night began stay, too. Cache files stay for that reason alone.
    """
    nights = store.nights()
    kept = [night for number, night in enumerate(nights) if number >= len(nights) - keep or night.finished_at is None]
    if not kept:
        return ()
    needed = _needed(home, kept, ledger.entries())
    found = []
    for folder in FOLDERS:
        for entry in _entries(home / folder):
            if not _stays(folder, entry, needed):
                size = sum(file.lstat().st_size for file in _files(entry))
                found.append(Unneeded(folder, entry, size))
    return tuple(found)


def remove(found: Sequence[Unneeded]) -> None:
    """Delete all of them, each renamed first, so that under its own name an entry is never there in part."""
    for each in found:
        doomed = each.path
        if not doomed.name.startswith(REMOVED):
            doomed = each.path.with_name(REMOVED + each.path.name)
            _delete(doomed)  # what a killed prune has left, and somebody has made again since
            each.path.rename(doomed)
        _delete(doomed)


def _needed(home: Path, nights: Sequence[Night], entries: Sequence[Promotion]) -> Needed:
    manifests = {folder.name: _manifest(folder) for folder in _entries(home / CANDIDATES)}
    in_ledger = {entry.adapter_sha256 for entry in entries if entry.adapter_sha256}
    candidates = {night.outputs.candidate_id for night in nights if night.outputs.candidate_id}
    # The ledger names a candidate by the sha256 of its adapter alone.
    candidates |= {name for name, made in manifests.items() if made.get("adapter_sha256") in in_ledger}
    origins = [manifests[name] for name in candidates if name in manifests]
    snapshots = {night.outputs.snapshot_id for night in nights if night.outputs.snapshot_id}
    snapshots |= {str(made.get("snapshot_id")) for made in origins}
    running = [night for night in nights if night.finished_at is None]
    versions = set(promotion.champions(entries))
    versions.add(promotion.anchor(entries))
    versions.update(night.champion_version for night in running)
    versions.update(night.outputs.version for night in running if night.outputs.version)
    names = {
        CANDIDATES: candidates,
        JOBS: candidates | {str(made.get("job_id")) for made in origins},  # a training that failed has its job's id
        SNAPSHOTS: snapshots,
        DOCS: snapshots,
        DOWNLOADS: {str(version) for version in versions},
    }
    return Needed(
        names={folder: frozenset(found) for folder, found in names.items()},
        since=min(night.started_at for night in nights).timestamp(),
        open=bool(running),
    )


def _stays(folder: str, entry: Path, needed: Needed) -> bool:
    if entry.name.startswith(REMOVED):  # however young: its deletion has begun
        return False
    if (
        entry.name in needed.names.get(folder, ())
        or max(file.lstat().st_mtime for file in _files(entry)) > needed.since
    ):
        return True
    # A job without a manifest has not ended: its checkpoints are what an open night goes on from.
    return needed.open and folder == JOBS and not (entry / MANIFEST).exists()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(entry: Path) -> Iterator[Path]:
    """An entry and, if it is a folder, everything in it; links are not followed."""
    yield entry
    if entry.is_dir() and not entry.is_symlink():
        yield from entry.rglob("*")


def _manifest(candidate: Path) -> dict[str, Any]:
    """Manifest of a candidate; empty where there is none. Raises IntegrityError for one that cannot be read."""
    file = candidate / MANIFEST
    if not file.exists():
        return {}
    try:
        return dict(json.loads(file.read_bytes()))
    except (ValueError, TypeError) as error:
        raise IntegrityError(
            f"{file} is damaged: who needs this candidate cannot be told",
            f"restore it from a backup, or move {candidate} away",
        ) from error


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
