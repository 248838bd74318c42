"""The identity of an adapter on disk: what training records and what serving, promotion and rollback verify."""

import hashlib
from pathlib import Path

from loop.errors import NotFoundError

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_sha256(folder: Path) -> str:
    """sha256 (hex) over the bytes of the adapter's config, then of its weights.

    Raises NotFoundError when `folder` lacks either file.
    """
    digest = hashlib.sha256()
    for name in ADAPTER_FILES:
        _feed(digest, folder / name)
    return digest.hexdigest()


def _feed(digest: "hashlib._Hash", path: Path) -> None:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a folder with a LoRA adapter in safetensors form")
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
