"""Memory of this machine: what is installed, by which a training is sized, and what is free, for which it waits."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the kernel says what memory there is, and how long a training waits until enough of it is free."""

    proc: Path = Path("/proc")
    groups: Path = Path("/sys/fs/cgroup")
    """Where control groups are mounted."""
    patience_seconds: float = 1_800.0
    """A neighbour that builds or tests something has ended by then; one that has not will be there all night."""
    look_seconds: float = 5.0
    """Between two looks."""


MEMORY = Memory()
"""Of this machine."""


@dataclass(frozen=True, slots=True)
class _Files:
    """How one version of control groups names what it counts."""

    limit: str
    used: str
    given_back: tuple[str, ...]
    """Lines of memory.stat: the page cache counts as used, but the kernel takes it back before it refuses memory."""


V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))
V2 = _Files("memory.max", "memory.current", ("inactive_file", "active_file", "slab_reclaimable"))


def installed(memory: Memory) -> int:
    """Bytes that this process could ever have: of the machine, or of its control group where that allows less."""
    limits = (_limit(folder, files) for folder, files in _groups(memory))
    return min([_machine(memory, "MemTotal"), *(limit for limit in limits if limit is not None)])


def free(memory: Memory) -> int:
    """Bytes that may be taken now, the page cache among them."""
    return min([_machine(memory, "MemAvailable"), *_left(memory)])


def _machine(memory: Memory, name: str) -> int:
    [line] = [each for each in (memory.proc / "meminfo").read_text().splitlines() if each.startswith(f"{name}:")]
    return int(line.split()[1]) * 1024


def _groups(memory: Memory) -> Iterator[tuple[Path, _Files]]:
    """The control groups that this process is in, each with those above it: every one of them may set a limit.

    A container sees its own group as the topmost, whatever its path is outside.
    """
    file = memory.proc / "self" / "cgroup"
    for line in file.read_text().splitlines() if file.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, files = memory.groups, V2
        elif "memory" in controllers.split(","):
            top, files = memory.groups / "memory", V1
        else:
            continue
        own = top / path.lstrip("/")
        for folder in (own, *own.parents):
            yield folder, files
            if folder == top:
                break


def _limit(folder: Path, files: _Files) -> int | None:
    file = folder / files.limit
    text = file.read_text().strip() if file.exists() else "max"
    return None if text == "max" else int(text)


def _left(memory: Memory) -> Iterator[int]:
    """Bytes that each limit leaves."""
    for folder, files in _groups(memory):
        limit = _limit(folder, files)
        if limit is not None:
            counts = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
            cached = sum(int(count) for name, count in counts if name in files.given_back)
            yield limit - int((folder / files.used).read_text()) + cached
