"""Files and folders written durably: whole or not at all, even when a process is killed or the power fails.

Content is written under a hidden name in the same folder and renamed, as a rename works only within a file system.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

UNFINISHED = ".part"
"""End of the hidden names; a process that is killed leaves a file or folder with such a name."""
OWNER_ONLY, USUAL = 0o600, 0o666
"""Permissions of a new file, before the process's own mask."""


def write(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file of these parts, or replace it in one move, also while other processes do so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    building = _beside(path)
    try:
        _fill(building, parts, USUAL)
        place(building, path)
    finally:
        building.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8 as `write` does."""
    write(path, text.encode())


def write_first(path: Path, text: str) -> None:
    """Write a file that only its owner can read; of several processes the first one's text stays."""
    building = _beside(path)
    try:
        _fill(building, (text.encode(),), OWNER_ONLY)
        place_first(building, path)
    finally:
        building.unlink(missing_ok=True)


def place(built: Path, path: Path) -> None:
    """Rename a complete file to its final name; an older file of that name is replaced."""
    _sync(built)
    built.replace(path)
    _sync_names(path.parent)


def place_first(built: Path, path: Path) -> None:
    """Link a complete file to its final name, unless another process has made a file of that name first."""
    _sync(built)
    # A link, unlike a rename, never replaces a file.
    with suppress(FileExistsError):
        os.link(built, path)
    _sync_names(path.parent)


def place_folder(built: Path, path: Path) -> None:
    """Rename a complete folder to its final name, unless another process has made one of that name first."""
    _sync_all(built)
    try:
        built.rename(path)
    except OSError:
        # Another process has made the same folder meanwhile: that one is as good.
        if not path.is_dir():
            raise
    _sync_names(path.parent)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A new folder, hidden while the block fills it, that is `path` afterwards; a folder that is there already stays.

    Nothing stays of it when the block raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    building = _beside(path)
    building.mkdir()
    try:
        yield building
        place_folder(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def unfinished(folder: Path) -> list[Path]:
    """Files and folders in `folder` that killed processes left, and those that are being written now."""
    return list(folder.glob(f".*{UNFINISHED}"))


def _beside(path: Path) -> Path:
    """A hidden name in the same folder that nobody else uses."""
    return path.with_name(f".{path.name}-{uuid4().hex[:12]}{UNFINISHED}")


def _fill(path: Path, parts: tuple[bytes | memoryview, ...], mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - the mode
        file.writelines(parts)


def _sync_all(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            _sync(Path(parent) / name)
        _sync_names(Path(parent))


def _sync(path: Path) -> None:
    """Wait until a file's bytes are on the disk.

    Else a power cut after the rename could leave the new name on bytes that were never written.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_names(folder: Path) -> None:
    # Some network file systems cannot do it and say so; there the server decides what a power cut leaves.
    with suppress(OSError):
        _sync(folder)
