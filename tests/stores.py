"""Stores under one contract: in memory, and on each database."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.sql.store import SqlStore
from loop.ports import Store
from loop.testing import MemoryStore
from tests.databases import DATABASES, fresh_url

STORES = ("memory", *DATABASES)


@contextmanager
def opened_store(kind: str, folder: Path) -> Iterator[Store]:
    """An empty store of this kind, closed at the end of the block."""
    if kind == "memory":
        yield MemoryStore()
        return
    store = SqlStore(fresh_url(kind, folder))
    yield store
    store.close()
