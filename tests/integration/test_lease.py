import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from connectors.sql.database import open_database, reading, writing
from connectors.sql.lease import LEASE, started
from connectors.sql.store import SqlStore
from loop.errors import LeaseHeldError
from tests.databases import fresh_url

processes = multiprocessing.get_context("fork")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return fresh_url("sqlite", tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = SqlStore(url)
    yield opened
    opened.close()


def leases(url: str) -> dict[str, tuple[str, datetime]]:
    engine = open_database(url, "store")
    with reading(engine) as connection:
        found = {row.name: (row.owner, row.expires_at) for row in connection.execute(select(LEASE))}
    engine.dispose()
    return found


def plant(url: str, owner: str, expires_at: datetime) -> None:
    engine = open_database(url, "store")
    with writing(engine) as connection:
        row = {"name": "night", "owner": owner, "acquired_at": datetime.now(UTC), "expires_at": expires_at}
        connection.execute(LEASE.insert(), row)
    engine.dispose()


def hold_for_ever(url: str) -> None:
    with SqlStore(url).lease("night", 3600):
        time.sleep(600)


def test_the_lease_of_a_living_process_names_its_owner_and_since_when(url: str) -> None:
    holder = processes.Process(target=hold_for_ever, args=(url,))
    holder.start()
    while not leases(url):
        time.sleep(0.01)
    store = SqlStore(url)
    found = store.holder("night")
    assert found is not None
    assert (found.process_id, found.alive) == (holder.pid, True)
    with (
        pytest.raises(LeaseHeldError, match=rf"{socket.gethostname()}:{holder.pid}:\d+ since 20"),
        store.lease("night", 60),
    ):
        pass
    holder.kill()
    holder.join()
    assert store.holder("night") == replace(found, alive=False)
    with store.lease("night", 60):
        assert f":{os.getpid()}:" in leases(url)["night"][0]
    store.close()
    assert leases(url) == {}


def test_a_killed_process_nobody_has_waited_for_is_dead_too() -> None:
    child = os.fork()
    if child == 0:
        time.sleep(600)
        os._exit(0)
    assert started(child) == started(child) is not None
    os.kill(child, signal.SIGKILL)
    while started(child) is not None:
        time.sleep(0.01)
    os.waitpid(child, 0)
    assert started(child) is None


def test_a_process_id_used_again_is_another_process(url: str, store: SqlStore) -> None:
    plant(url, f"{socket.gethostname()}:{os.getpid()}:1", datetime.now(UTC) + timedelta(hours=1))
    with store.lease("night", 60):
        pass


def test_the_lease_of_another_machine_lasts_until_it_expires(url: str, store: SqlStore) -> None:
    plant(url, "elsewhere:1:1", datetime.now(UTC) + timedelta(seconds=0.5))
    found = store.holder("night")
    assert found is not None
    assert (found.host, found.alive) == ("elsewhere", None)
    with pytest.raises(LeaseHeldError, match="elsewhere:1:1"), store.lease("night", 60):
        pass
    time.sleep(0.5)
    with store.lease("night", 60):
        pass


def test_a_lease_is_renewed_while_its_block_runs(url: str, store: SqlStore) -> None:
    with store.lease("night", 1.0):
        _, first = leases(url)["night"]
        time.sleep(1.2)
        _, second = leases(url)["night"]
    assert first < datetime.now(UTC) < second + timedelta(seconds=0.5)


def test_a_lease_that_was_taken_over_is_not_released_by_its_former_holder(
    url: str, store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_database(url, "store")
    with store.lease("night", 0.3):
        with writing(engine) as connection:
            connection.execute(LEASE.update().values(owner="elsewhere:1:1"))
        time.sleep(0.3)
    engine.dispose()
    assert leases(url)["night"][0] == "elsewhere:1:1"
    assert "taken over" in caplog.text
