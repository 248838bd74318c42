"""Fingerprint of a base model: one hash by which candidates name it and caches are keyed."""

import contextlib
import json
from pathlib import Path

from loop.errors import NotFoundError
from loop.files import write_text
from loop.hashing import file_sha256, sha256_of_all

SIDECAR = ".fingerprint.json"
PARTS = {".safetensors", ".json", ".jinja", ".model", ".txt"}


def fingerprint(folder: Path) -> str:
    """sha256 (hex) over the names and bytes of a model folder's weights, configuration and tokenizer.

    The hash is kept in a hidden file beside them and computed again when a size or a modification time changes.
    Raises NotFoundError when `folder` holds no safetensors weights.
    """
    known = remembered(folder)
    if known is not None:
        return known
    files = _files(folder)
    sha256 = _hash(files)
    with contextlib.suppress(OSError):  # a read-only folder is hashed every time
        write_text(folder / SIDECAR, json.dumps({"files": _stats(files), "sha256": sha256}))
    return sha256


def remembered(folder: Path) -> str | None:
    """The fingerprint computed last, or None where a file has changed since; no weights are read.

    Raises NotFoundError when `folder` holds no safetensors weights.
    """
    stats = _stats(_files(folder))
    try:
        known = json.loads((folder / SIDECAR).read_text())
        return str(known["sha256"]) if known["files"] == stats else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _files(folder: Path) -> list[Path]:
    # Sorted, since the hash depends on the order; without the hidden file, which the hash is kept in.
    files = sorted(path for path in folder.glob("[!.]*") if path.suffix in PARTS)
    if not any(path.suffix == ".safetensors" for path in files):
        raise NotFoundError(f"{folder} holds no safetensors weights", "name a model folder saved with save_pretrained")
    return files


def _stats(files: list[Path]) -> list[list[object]]:
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def _hash(files: list[Path]) -> str:
    return sha256_of_all(f"{path.name}\0{file_sha256(path)}\n" for path in files)
