"""Memory of this machine: a training is sized by what is installed, and waits for what it needs to be free."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Places where the kernel reports memory, and the time that a training waits until enough of it is free."""

    proc: Path = Path("/proc")
    groups: Path = Path("/sys/fs/cgroup")
    """Folder in which control groups are mounted."""
    patience_seconds: float = 1_800.0
    """Time to wait for memory: a neighbour that builds or tests something has ended by then, or stays all night."""
    look_seconds: float = 5.0
    """Time between two looks at the free memory."""


MEMORY = Memory()
"""Memory of this machine."""


@dataclass(frozen=True, slots=True)
class _Files:
    """Names of files and counts in one version of control groups."""

    limit: str
    used: str
    given_back: tuple[str, ...]
    """Counts of the page cache in memory.stat: it counts as used, though the kernel takes it back when it is short."""


V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))


def installed(memory: Memory) -> int:
    """Bytes that this process could ever have: those of the machine, or of its control groups where they allow less."""
    sizes = [_machine(memory, "MemTotal")]
    for folder, files in _groups(memory):
        limit = _limit(folder, files)
        if limit is not None:
            sizes.append(limit)
    return min(sizes)


def free(memory: Memory) -> int:
    """Bytes that may be taken now, the page cache among them."""
    sizes = [_machine(memory, "MemAvailable")]
    sizes += _left(memory)
    return min(sizes)


def _machine(memory: Memory, name: str) -> int:
    [line] = [each for each in (memory.proc / "meminfo").read_text().splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024  # the kernel writes kB and means KiB


def _groups(memory: Memory) -> Iterator[tuple[Path, _Files]]:
    """The control groups of this process, each with those above it, because every one of them may set a limit."""
    file = memory.proc / "self" / "cgroup"
    for line in file.read_text().splitlines() if file.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2 has one hierarchy for all controllers and leaves their names out
            top, files = memory.groups, V2
        elif "memory" in controllers.split(","):
            top, files = memory.groups / "memory", V1
        else:
            continue
        own = top / path.lstrip("/")
        # A container sees its own group as the topmost, whatever its path is outside: what is absent sets no limit.
        for folder in (own, *own.parents):
            yield folder, files
            if folder == top:
                break


def _limit(folder: Path, files: _Files) -> int | None:
    file = folder / files.limit
    text = file.read_text().strip() if file.exists() else "max"
    # Version 1 has no word for it and names more bytes than any machine has, which are never the least.
    return None if text == "max" else int(text)


def _left(memory: Memory) -> Iterator[int]:
    """Bytes that each limit still leaves."""
    for folder, files in _groups(memory):
        limit = _limit(folder, files)
        if limit is not None:
            counts = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached = sum(int(count) for name, count in counts if name in files.given_back)
            yield limit - int((folder / files.used).read_text()) + cached
