"""Two real processes promote at the same moment, 50 times: one wins, the other is told who, the aliases follow."""

import multiprocessing
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path

from connectors.mlflow.registry import MlflowRegistry
from connectors.sql.ledger import SqlLedger
from loop.errors import StaleChampionError
from loop.promotion import champion, promote, reconcile
from loop.promotion.ledger import verify
from loop.types import Decision
from tests.candidates import judged, make_candidate
from tests.forked import FORKED

RACES = 50
VERSIONS = 3
PATIENCE_SECONDS = 240


def _open(folder: Path) -> tuple[SqlLedger, MlflowRegistry]:
    ledger = SqlLedger(f"sqlite:///{folder}/ledger.db")
    return ledger, MlflowRegistry(f"sqlite:///{folder}/mlflow.db", "assistant", folder / "versions", ledger)


def _race(folder: Path, racer: int, start: Barrier, results: "multiprocessing.Queue[tuple[int, int, str]]") -> None:
    """Promote one of the versions that do not serve, at the same moment as the other racer."""
    ledger, registry = _open(folder)
    registry.alias("champion")
    for race in range(RACES):
        start.wait(PATIENCE_SECONDS)
        serving = champion(ledger.entries())
        version = [v for v in range(1, VERSIONS + 1) if v != serving][racer]
        decision = _decision(f"race {race} racer {racer}", version, serving)
        start.wait(PATIENCE_SECONDS)
        results.put((race, racer, _outcome(ledger, registry, version, decision)))
    ledger.close()


def _outcome(ledger: SqlLedger, registry: MlflowRegistry, version: int, decision: Decision) -> str:
    try:
        promote(
            ledger,
            registry,
            version=version,
            decision=decision,
            model="assistant",
            actor=decision.evidence_id,
            reason="race",
            clock=lambda: datetime.now(UTC),
        )
    except StaleChampionError as error:
        return f"lost: {error.what}"
    return "won"


def _decision(race: str, version: int, against: int) -> Decision:
    champion = f"c{against}" if against else None
    return judged(f"c{version}", champion=champion, champion_version=against, evidence_id=race)


def test_of_two_promoters_at_once_exactly_one_wins(tmp_path: Path) -> None:
    ledger, registry = _open(tmp_path)
    for number in range(1, VERSIONS + 1):
        folder = tmp_path / f"c{number}"
        registry.register(make_candidate(folder, f"c{number}"), folder, {})
    forked = multiprocessing.get_context(FORKED)
    start, results = forked.Barrier(2), forked.Queue()
    racers = [forked.Process(target=_race, args=(tmp_path, racer, start, results)) for racer in range(2)]
    for racer in racers:
        racer.start()
    outcomes = [results.get(timeout=PATIENCE_SECONDS) for _ in range(2 * RACES)]
    for racer in racers:
        racer.join(PATIENCE_SECONDS)
    entries = ledger.entries()
    verify(entries)
    assert [racer.exitcode for racer in racers] == [0, 0]
    assert len(entries) == RACES
    for race, entry in enumerate(entries):
        told = {racer: text for number, racer, text in outcomes if number == race}
        winner = next(racer for racer, text in told.items() if text == "won")
        assert entry.actor == f"race {race} racer {winner}"
        assert f"version {entry.to_version} serves since {entry.actor}" in told[1 - winner]
    assert registry.alias("champion") == champion(entries)
    assert reconcile(ledger, registry) == ()
    ledger.close()
