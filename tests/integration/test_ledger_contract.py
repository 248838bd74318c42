import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy
from alembic import command

from connectors.sql.database import open_database, writing
from connectors.sql.ledger import SqlLedger
from connectors.sql.migrations import config
from loop.errors import IntegrityError, StaleChampionError
from loop.ports import Ledger
from loop.promotion.ledger import Move, link
from loop.testing import MemoryLedger
from loop.types import Action, Promotion
from tests.databases import DATABASES, fresh_url

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RACES = 50

processes = multiprocessing.get_context("fork")  # a child starts in milliseconds; no database is open when it does


@pytest.fixture(params=["memory", *DATABASES])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    opened = SqlLedger(fresh_url(request.param, tmp_path))
    yield opened
    opened.close()


def promotion(previous: Promotion | None, *, actor: str = "nightshift") -> Promotion:
    from_version = 0 if previous is None else previous.to_version
    return link(
        previous,
        Move(
            action=Action.PROMOTE,
            model="assistant",
            from_version=from_version,
            to_version=from_version + 1,
            adapter_sha256="ab" * 32,
            decision_id=None,
            actor=actor,
            reason="better",
            recorded_at=NOON,
        ),
    )


def test_rows_come_back_equal_and_in_order(ledger: Ledger) -> None:
    assert ledger.entries() == ()
    first = promotion(None)
    second = promotion(first, actor="Zoë")
    ledger.append(first)
    ledger.append(second)
    assert ledger.entries() == (first, second)


def test_a_ledger_keeps_its_id_whatever_is_appended(ledger: Ledger) -> None:
    made = ledger.ledger_id()
    ledger.append(promotion(None))
    assert made
    assert ledger.ledger_id() == made


@pytest.mark.parametrize("database", DATABASES)
def test_a_ledger_has_the_same_id_whoever_opens_it_and_another_ledger_has_another(
    database: str, tmp_path: Path
) -> None:
    here, there = fresh_url(database, tmp_path / "here"), fresh_url(database, tmp_path / "there")
    ids = []
    for url in (here, here, there):
        ledger = SqlLedger(url)
        ids.append(ledger.ledger_id())
        ledger.close()
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize("database", DATABASES)
def test_a_ledger_from_before_ids_gets_one_and_keeps_its_rows(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    old = SqlLedger(url)
    old.append(promotion(None))
    rows = old.entries()
    old.close()
    engine = open_database(url, "ledger")
    with writing(engine) as connection:
        command.downgrade(config(connection, "ledger"), "ledger_0001")
    engine.dispose()
    ledger = SqlLedger(url)
    assert ledger.ledger_id()
    assert ledger.entries() == rows
    ledger.close()


def test_the_second_of_two_promoters_is_stale(ledger: Ledger) -> None:
    first = promotion(None, actor="a")
    ledger.append(first)
    with pytest.raises(StaleChampionError):
        ledger.append(promotion(None, actor="b"))
    assert ledger.entries() == (first,)


def test_a_row_that_does_not_continue_the_chain_is_refused(ledger: Ledger) -> None:
    first = promotion(None)
    second = promotion(first)
    with pytest.raises(IntegrityError):
        ledger.append(second)
    ledger.append(first)
    with pytest.raises(IntegrityError):
        ledger.append(promotion(promotion(None, actor="another history")))
    assert ledger.entries() == (first,)


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("statement", ["UPDATE promotion SET reason = 'forged'", "DELETE FROM promotion"])
def test_the_database_refuses_to_change_history(database: str, statement: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    ledger = SqlLedger(url)
    ledger.append(promotion(None))
    engine = sqlalchemy.create_engine(url)
    with pytest.raises(sqlalchemy.exc.DatabaseError, match="append-only"), engine.begin() as connection:
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()
    assert len(ledger.entries()) == 1
    ledger.close()


def test_a_row_changed_behind_the_triggers_is_named(tmp_path: Path) -> None:
    url = fresh_url("sqlite", tmp_path)
    ledger = SqlLedger(url)
    first = promotion(None)
    ledger.append(first)
    ledger.append(promotion(first))
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TRIGGER promotion_no_update"))
        connection.execute(sqlalchemy.text("UPDATE promotion SET to_version = 9 WHERE sequence = 2"))
    engine.dispose()
    with pytest.raises(IntegrityError, match="row 2"):
        ledger.entries()
    ledger.close()


@pytest.mark.parametrize("database", DATABASES)
def test_of_two_processes_exactly_one_wins_each_race(database: str, tmp_path: Path) -> None:
    url = fresh_url(database, tmp_path)
    SqlLedger(url).close()
    gate, wins = processes.Barrier(2), processes.Queue()
    racers = [processes.Process(target=race, args=(url, name, gate, wins)) for name in ("a", "b")]
    for racer in racers:
        racer.start()
    won = [wins.get(timeout=120) for _ in racers]
    for racer in racers:
        racer.join()
    ledger = SqlLedger(url)
    rows = ledger.entries()
    ledger.close()
    assert len(rows) == RACES
    assert sorted(row for rows_of_one in won for row in rows_of_one) == list(range(1, RACES + 1))


def race(url: str, name: str, gate: threading.Barrier, wins: "multiprocessing.Queue[list[int]]") -> None:
    """Both racers read the same newest row, meet at the gate and append."""
    ledger, won = SqlLedger(url), []
    for _ in range(RACES):
        entry = promotion(next(reversed(ledger.entries()), None), actor=name)
        gate.wait(timeout=60)
        try:
            ledger.append(entry)
            won.append(entry.sequence)
        except StaleChampionError:
            pass
        gate.wait(timeout=60)
    ledger.close()
    wins.put(won)
