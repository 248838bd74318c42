"""A named lease in the store's database: only the process that holds it runs the night."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, RowMapping, and_, delete, select, update

from connectors.sql.database import insert, reading, writing
from connectors.sql.tables import LeaseRow, table_of
from loop.errors import LeaseHeldError, UnreachableError
from loop.ports import Holder

LEASE = table_of(LeaseRow)
log = logging.getLogger(__name__)


@contextmanager
def hold(engine: Engine, name: str, seconds: float) -> Iterator[None]:
    """The lease `name`, renewed three times per `seconds` by a thread while the block runs.

    A process of this machine that has died loses it at once, a process of another machine when it expires (by this
    machine's clock, so machines need clocks in step). Raises LeaseHeldError while another process has it.
    """
    # A host and a process id are not enough: the id may be another process's by the time somebody asks.
    owner = f"{socket.gethostname()}:{os.getpid()}:{started(os.getpid())}"
    _acquire(engine, name, owner, seconds)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(engine, name, owner, seconds, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        # Joined first, or a renewal under way could find the lease gone and call it taken over.
        renewal.join()
        # A lease that cannot be given back now expires by itself.
        with suppress(UnreachableError), writing(engine) as connection:
            connection.execute(delete(LEASE).where(LEASE.c.name == name, LEASE.c.owner == owner))


def holder(engine: Engine, name: str) -> Holder | None:
    """Process that has the lease `name`, even one that has died; None after the lease was given back."""
    with reading(engine) as connection:
        held = _holder(connection, name)
    if held is None:
        return None
    host, pid, start = held["owner"].rsplit(":", 2)
    alive = started(int(pid)) == start if host == socket.gethostname() else None
    return Holder(host, int(pid), held["acquired_at"], held["expires_at"], alive)


def started(pid: int) -> str | None:
    """Start of a live process of this machine, in ticks since boot ("0" where /proc is absent); None if it is dead.

    Process ids are reused; the pair (id, start) is not.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # alive, and somebody else's
    try:
        # The second field is the program's name in brackets, and may itself contain spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return "0"
    # Fields 3 (state) and 22 (starttime) of proc(5). A zombie or dead process does nothing more.
    return None if fields[0] in "ZX" else fields[19]


def _acquire(engine: Engine, name: str, owner: str, seconds: float) -> None:
    now = datetime.now(UTC)
    claim = {"name": name, "owner": owner, "acquired_at": now, "expires_at": now + timedelta(seconds=seconds)}
    with writing(engine) as connection:
        held = _holder(connection, name)
        if held and (held["expires_at"] <= now or _died_here(held["owner"])):
            # Only the lease as it was read: on PostgreSQL another process may have renewed or taken it since.
            as_read = and_(
                LEASE.c.name == name, LEASE.c.owner == held["owner"], LEASE.c.expires_at == held["expires_at"]
            )
            connection.execute(delete(LEASE).where(as_read))
        taken = connection.execute(insert(connection, LEASE).values(claim).on_conflict_do_nothing())
        if taken.rowcount != 1:
            raise _refusal(name, _holder(connection, name))


def _holder(connection: Connection, name: str) -> RowMapping | None:
    return connection.execute(select(LEASE).where(LEASE.c.name == name)).mappings().first()


def _died_here(owner: str) -> bool:
    host, pid, start = owner.rsplit(":", 2)
    return host == socket.gethostname() and started(int(pid)) != start


def _refusal(name: str, held: RowMapping | None) -> LeaseHeldError:
    whose = (
        f"{held['owner']} since {held['acquired_at']:%Y-%m-%d %H:%M:%S} UTC" if held else "a process that just let go"
    )
    return LeaseHeldError(
        f"the lease {name!r} is held by {whose}", "wait for it to end, or end that process, and repeat"
    )


def _renew(engine: Engine, name: str, owner: str, seconds: float, done: threading.Event) -> None:
    mine = update(LEASE).where(LEASE.c.name == name, LEASE.c.owner == owner)
    while not done.wait(seconds / 3):
        try:
            with writing(engine) as connection:
                renewed = connection.execute(mine.values(expires_at=datetime.now(UTC) + timedelta(seconds=seconds)))
        except UnreachableError as error:
            log.warning("the lease %r could not be renewed: %s", name, error.what)
            continue
        if renewed.rowcount != 1:
            log.error("the lease %r was taken over: this process was out of touch for %s s", name, seconds)
            return
