"""Writes to SQLite, during which this process does not fork.

SQLite keeps the locks of a database in the memory of its process: a child forked while a thread writes would inherit
that thread's lock, which nobody gives back, and could never write itself.
"""

import os
import threading

WRITES = threading.RLock()
"""Lock of a thread that writes, for which a fork waits; one at a time, as SQLite has one writer."""
os.register_at_fork(before=WRITES.acquire, after_in_parent=WRITES.release, after_in_child=WRITES.release)
