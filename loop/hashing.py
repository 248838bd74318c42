"""Hashes: canonical JSON, files and adapters. Everything with an id or a fingerprint is hashed here."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError

# Hashed in this order: another one would give every recorded adapter another sha256.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
CHUNK = 1 << 20
"""Bytes of a file that are read at a time, so that one of any size takes little memory."""


def canonical(value: object) -> bytes:
    """The value as ASCII JSON with sorted keys and no spaces, so that equal values have equal bytes.

    Dataclasses become objects, times ISO 8601 in UTC, paths text. Raises TypeError for a value without a JSON form and
    ValueError for numbers that are not finite.
    """
    # Ids and the ledger's hashes rest on this text: any change of it would make all that is stored look altered.
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain)
    return text.encode("ascii")


def digest(value: object) -> str:
    """sha256 (hex) of the canonical JSON of `value`."""
    return sha256_of(canonical(value))


def sha256_of(*parts: bytes | memoryview | str) -> str:
    """sha256 (hex) of the bytes of all parts, one after the other; text is UTF-8."""
    return sha256_of_all(parts)


def sha256_of_all(parts: Iterable[bytes | memoryview | str]) -> str:
    """sha256 (hex) like `sha256_of`, of parts that are made while they are hashed."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def adapter_sha256(folder: Path) -> str:
    """sha256 (hex) over the bytes of the adapter's config, then of its weights.

    Raises NotFoundError when `folder` lacks either file.
    """
    return sha256_of_all(chunk for name in ADAPTER_FILES for chunk in _chunks(folder / name))


def candidate_id(sha256: str) -> str:
    """Id of the candidate whose adapter has this sha256: its first 16 digits."""
    return sha256[:16]


def is_adapter(folder: Path, sha256: str) -> bool:
    """Whether `folder` holds an adapter with these bytes."""
    return all((folder / name).is_file() for name in ADAPTER_FILES) and adapter_sha256(folder) == sha256


def require_adapter(folder: Path, sha256: str, what: str, remedy: str) -> Path:
    """Folder of an adapter whose bytes have the recorded sha256; `what` and `remedy` are for the error.

    Raises IntegrityError for other bytes and for files that are missing.
    """
    if not is_adapter(folder, sha256):
        raise IntegrityError(f"the adapter of {what} in {folder} does not have its sha256 {sha256[:12]}...", remedy)
    return folder


def _chunks(path: Path) -> Iterator[bytes]:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a folder with a LoRA adapter in safetensors form")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, datetime):  # the moment is hashed, not the zone that it was written in
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Mapping):  # of other types than dict, which json knows itself
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")
