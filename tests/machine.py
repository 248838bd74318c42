"""A machine with as much memory as a test says: the files by which Linux tells of it."""

from pathlib import Path

from loop.memory import Memory


def machine(
    folder: Path, *, installed: float, free: float | None = None, patience: float = 0.0, look: float = 0.01
) -> Memory:
    """So many bytes installed, and all or `free` of them free, in no control group."""
    has_free(folder, installed if free is None else free, installed)
    return Memory(proc=folder, groups=folder / "groups", patience_seconds=patience, look_seconds=look)


def has_free(folder: Path, free: float, installed: float) -> None:
    """From now on the machine in `folder` has so many bytes free."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"MemTotal": installed, "MemFree": free / 2, "MemAvailable": free}
    (folder / "meminfo").write_text("".join(f"{name}: {int(size / 1024):>12} kB\n" for name, size in rows.items()))
