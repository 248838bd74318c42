"""The sha256 of an adapter on disk: training records it, and every later stage compares it before it goes on."""

import hashlib
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError

# Hashed in this order: another one would give every recorded adapter another sha256.
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_sha256(folder: Path) -> str:
    """sha256 (hex) over the bytes of the adapter's config, then of its weights.

    Raises NotFoundError when `folder` lacks either file.
    """
    digest = hashlib.sha256()
    for name in ADAPTER_FILES:
        _feed(digest, folder / name)
    return digest.hexdigest()


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


def _feed(digest: "hashlib._Hash", path: Path) -> None:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a folder with a LoRA adapter in safetensors form")
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):  # in parts, so that an adapter of any size takes a megabyte of memory
            digest.update(chunk)
