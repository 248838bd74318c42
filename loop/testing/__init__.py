"""Ports in memory, for tests of applications that use a loop: no database, broker or MLflow is needed.

    loop = open_loop(ports=memory_ports(tmp_path))

One suite of contract tests runs on these and on the real ones alike.
"""

from pathlib import Path

from loop.testing.memory import MemoryLedger, MemoryLog, MemoryStore
from loop.testing.registry import MemoryRegistry, MemoryRun

__all__ = ["MemoryLedger", "MemoryLog", "MemoryRegistry", "MemoryRun", "MemoryStore", "memory_ports"]


def memory_ports(folder: Path) -> dict[str, object]:
    """All ports in memory by their names, as `open_loop` takes them; the registry keeps its adapters below `folder`."""
    return {
        "log": MemoryLog(),
        "store": MemoryStore(),
        "ledger": MemoryLedger(),
        "registry": MemoryRegistry(folder / "registry"),
    }
