"""Writes to SQLite, during which this process does not fork.

SQLite keeps the locks of a database in the memory of its process: a child forked while a thread writes would inherit
that thread's lock, which nobody gives back, and could never write itself.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_WRITES = threading.RLock()
os.register_at_fork(before=_WRITES.acquire, after_in_parent=_WRITES.release, after_in_child=_WRITES.release)


@contextmanager
def unforked() -> Iterator[None]:
    """A block that a fork waits for; one thread at a time is in it, as SQLite has one writer."""
    with _WRITES:
        yield
