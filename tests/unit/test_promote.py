"""Promotion, rollback, approval and repair on a ledger and a registry in memory."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.errors import (
    IntegrityError,
    NotFoundError,
    NothingToRollBackError,
    StaleChampionError,
    UnreachableError,
    UsageError,
)
from loop.hashing import adapter_sha256
from loop.promotion import (
    adapter_of,
    anchor,
    approve,
    champion,
    champions,
    fetch,
    promote,
    reconcile,
    rollback,
)
from loop.promotion.ledger import Move, link
from loop.testing import MemoryLedger, MemoryRegistry
from loop.types import Action, Decision, Promotion, Verdict
from tests.candidates import judged, make_candidate, sha256_of

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class CrashingRegistry(MemoryRegistry):
    """Goes away when an alias is to be set, as after a power cut between ledger and registry."""

    crashing = False

    def set_alias(self, name: str, version: int | None) -> None:
        if self.crashing:
            raise UnreachableError("the registry is gone", "wait")
        super().set_alias(name, version)


@dataclass
class House:
    """A ledger and a registry with versions 1 to 4, of candidates c1 to c4."""

    ledger: MemoryLedger
    registry: MemoryRegistry

    def promote(self, version: int, decision: Decision | None = None, reason: str = "by hand") -> Promotion:
        return promote(
            self.ledger,
            self.registry,
            version=version,
            decision=decision,
            model="assistant",
            actor="ann",
            reason=reason,
            clock=lambda: NOON,
        )

    def rollback(self, to: int | None = None) -> Promotion:
        return rollback(self.ledger, self.registry, to=to, actor="bob", reason="bad night", clock=lambda: NOON)

    def approve(self, version: int) -> Promotion:
        return approve(
            self.ledger,
            self.registry,
            version=version,
            model="assistant",
            actor="ann",
            reason="looked at it",
            clock=lambda: NOON,
        )

    @property
    def serving(self) -> int:
        return champion(self.ledger.entries())

    @property
    def rows(self) -> int:
        return len(self.ledger.rows)


@pytest.fixture
def house(tmp_path: Path) -> House:
    registry = CrashingRegistry(tmp_path / "registry")
    for number in range(1, 5):
        folder = tmp_path / f"c{number}"
        registry.register(make_candidate(folder, f"c{number}"), folder, {})
    return House(MemoryLedger(), registry)


def decided(candidate: int, against: int, verdict: Verdict = Verdict.PROMOTE) -> Decision:
    champion = f"c{against}" if against else None
    return judged(f"c{candidate}", champion=champion, champion_version=against, verdict=verdict)


def tamper(house: House, version: int) -> None:
    (house.registry.folder / str(version) / "adapter_model.safetensors").write_bytes(b"other weights")


def test_an_adapter_is_not_put_on_a_base_it_was_not_trained_on(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "c5"
    version = house.registry.register(make_candidate(folder, "c5"), folder, {})
    assert fetch(house.registry, (), version, "base") == house.registry.fetch(version)
    with pytest.raises(UsageError, match="another base model"):
        fetch(house.registry, (), version, "another")


def test_a_decision_promotes_only_the_bytes_that_were_judged(house: House) -> None:
    version = house.registry.held[1]
    house.registry.held[1] = replace(version, adapter_sha256=sha256_of("other"))
    (house.registry.folder / "1" / "adapter_model.safetensors").write_bytes(b"other" * 100)
    with pytest.raises(IntegrityError, match=r"the adapter that decision \w+ judged had"):
        house.promote(1, decided(1, against=0))
    assert house.rows == 0


def test_a_decision_against_other_bytes_than_serve_promotes_nothing(house: House) -> None:
    house.promote(1, decided(1, against=0))
    against_others = judged("c2", champion="other", champion_version=1)
    with pytest.raises(IntegrityError, match="other bytes of version 1 than the ledger says serve"):
        house.promote(2, against_others)
    assert house.rows == 1


@pytest.mark.parametrize(
    "altered",
    [
        {"candidate_id": "c2", "candidate_sha256": sha256_of("c2")},
        {"evidence_id": "another"},
        {"reasons": ("because",)},
    ],
)
def test_a_decision_that_was_altered_promotes_nothing(house: House, altered: dict[str, object]) -> None:
    with pytest.raises(IntegrityError, match="altered after the gate made it"):
        house.promote(1, replace(decided(1, against=0), **altered))
    assert house.rows == 0


def test_a_version_that_served_loads_with_the_bytes_in_the_ledger_or_not_at_all(house: House) -> None:
    house.promote(1, decided(1, against=0))
    house.registry.held[1] = replace(house.registry.held[1], adapter_sha256=sha256_of("other"))
    (house.registry.folder / "1" / "adapter_model.safetensors").write_bytes(b"other" * 100)
    with pytest.raises(IntegrityError, match="not the one in the ledger"):
        fetch(house.registry, house.ledger.entries(), 1, "base")


def test_without_any_row_the_base_model_serves_and_is_the_anchor() -> None:
    assert champions(()) == (0,)
    assert champion(()) == 0
    assert anchor(()) == 0


def test_a_promotion_writes_the_ledger_and_then_the_aliases(house: House) -> None:
    house.registry.set_alias("challenger", 2)
    house.promote(1, decided(1, against=0))
    row = house.promote(2, decided(2, against=1))
    assert (row.from_version, row.to_version, row.decision_id) == (1, 2, decided(2, against=1).decision_id)
    assert row.adapter_sha256 == adapter_of(house.registry, 2)
    assert house.registry.aliases == {"champion": 2, "previous_champion": 1}


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.HOLD, Verdict.UNDERPOWERED])
def test_a_decision_that_is_not_promote_moves_nothing(house: House, verdict: Verdict) -> None:
    with pytest.raises(UsageError, match=verdict):
        house.promote(1, decided(1, against=0, verdict=verdict))
    assert house.rows == 0


def test_a_human_needs_no_decision_but_a_reason(house: House) -> None:
    with pytest.raises(UsageError, match="needs a reason"):
        house.promote(1, reason=" ")
    assert house.promote(1).decision_id is None


def test_a_decision_promotes_only_the_candidate_it_is_about(house: House) -> None:
    with pytest.raises(UsageError, match="version 2 is c2"):
        house.promote(2, decided(1, against=0))


def test_a_decision_against_a_former_champion_is_stale_and_tells_who_won(house: House) -> None:
    house.promote(1, decided(1, against=0))
    with pytest.raises(StaleChampionError, match="version 1 serves since ann's promote"):
        house.promote(2, decided(2, against=0))
    assert house.serving == 1


def test_an_approval_is_not_told_as_what_moved_the_champion(house: House) -> None:
    house.promote(1, decided(1, against=0))
    house.promote(2, decided(2, against=1))
    house.rollback()
    house.approve(1)
    with pytest.raises(StaleChampionError, match="version 1 serves since bob's rollback"):
        house.promote(3, decided(3, against=2))


def test_a_decision_against_a_champion_an_empty_ledger_never_had_is_stale(house: House) -> None:
    with pytest.raises(StaleChampionError, match="empty ledger"):
        house.promote(2, decided(2, against=1))


def test_repeating_a_promotion_returns_its_row(house: House) -> None:
    first = house.promote(1, decided(1, against=0))
    house.approve(1)
    assert house.promote(1, decided(1, against=0)) == first


def test_a_decision_cannot_bring_back_what_was_rolled_back(house: House) -> None:
    house.promote(1, decided(1, against=0))
    house.rollback()
    with pytest.raises(StaleChampionError, match="used before"):
        house.promote(1, decided(1, against=0))
    assert house.serving == 0


def test_an_altered_adapter_is_neither_promoted_nor_rolled_back_to(house: House) -> None:
    tamper(house, 1)
    with pytest.raises(IntegrityError):
        house.promote(1)
    house.promote(2)
    house.promote(3)
    tamper(house, 2)
    with pytest.raises(IntegrityError):
        house.rollback()
    assert house.serving == 3
    assert house.rollback(to=0).to_version == 0


def test_files_and_registry_altered_together_are_found_by_the_ledger(house: House) -> None:
    house.promote(1)
    house.promote(2)
    tamper(house, 1)
    forged = adapter_sha256(house.registry.folder / "1")
    house.registry.held[1] = replace(house.registry.held[1], adapter_sha256=forged)
    with pytest.raises(IntegrityError, match="not the one in the ledger"):
        house.rollback()


def test_another_model_may_not_write_into_this_ledger(house: House) -> None:
    house.promote(1)
    with pytest.raises(UsageError, match="belongs to the model assistant"):
        promote(
            house.ledger,
            house.registry,
            version=2,
            decision=None,
            model="other",
            actor="ann",
            reason="by hand",
            clock=lambda: NOON,
        )


def test_twice_back_is_two_steps_back(house: House) -> None:
    for version in (1, 2, 3):
        house.promote(version)
    assert house.rollback().to_version == 2
    assert house.rollback().to_version == 1
    assert house.registry.aliases == {"champion": 1}


def test_back_to_the_base_model_takes_the_alias_away_and_ends_there(house: House) -> None:
    house.promote(1)
    row = house.rollback()
    assert (row.to_version, row.adapter_sha256) == (0, None)
    assert house.registry.aliases == {}
    with pytest.raises(NothingToRollBackError):
        house.rollback()


def test_back_over_several_champions_and_on_from_there(house: House) -> None:
    for version in (1, 2, 3):
        house.promote(version)
    house.rollback(to=1)
    house.promote(4)
    assert champions(house.ledger.entries()) == (0, 1, 4)
    assert house.rollback().to_version == 1


def test_back_to_the_serving_version_changes_nothing(house: House) -> None:
    row = house.promote(1)
    assert house.rollback(to=1) == row
    assert house.rows == 1


def test_back_to_what_never_served_is_refused(house: House) -> None:
    house.promote(1)
    with pytest.raises(NotFoundError, match="version 3 is not an earlier champion"):
        house.rollback(to=3)


def test_a_broken_champion_can_be_left(house: House) -> None:
    house.promote(1)
    house.promote(2)
    house.registry.delete(2)
    assert house.rollback().to_version == 1
    assert house.registry.aliases == {"champion": 1}


def test_the_anchor_is_the_last_approved_champion_that_was_not_rolled_back(house: House) -> None:
    house.promote(1)
    house.approve(1)
    house.promote(2)
    assert anchor(house.ledger.entries()) == 1
    house.approve(2)
    assert anchor(house.ledger.entries()) == 2
    assert house.serving == 2
    house.rollback()
    assert anchor(house.ledger.entries()) == 1


def test_only_what_served_can_be_approved(house: House) -> None:
    with pytest.raises(NotFoundError, match="version 1 is not a champion"):
        house.approve(1)


def test_a_crash_between_ledger_and_alias_is_repaired(house: House) -> None:
    house.promote(1)
    house.registry.crashing = True
    with pytest.raises(UnreachableError):
        house.promote(2)
    assert (house.serving, house.registry.alias("champion")) == (2, 1)
    house.registry.crashing = False
    repairs = "champion: 1 -> 2", "previous_champion: none -> 1", "page of version 2: written"
    assert reconcile(house.ledger, house.registry) == repairs
    assert reconcile(house.ledger, house.registry) == ()


def test_repeating_a_crashed_promotion_finishes_it(house: House) -> None:
    house.registry.crashing = True
    with pytest.raises(UnreachableError):
        house.promote(1, decided(1, against=0))
    house.registry.crashing = False
    house.promote(1, decided(1, against=0))
    assert (house.rows, house.registry.alias("champion")) == (1, 1)


def test_an_alias_moved_by_hand_is_moved_back(house: House) -> None:
    house.promote(1)
    house.registry.set_alias("champion", 3)
    assert reconcile(house.ledger, house.registry) == ("champion: 3 -> 1",)


def test_a_champion_deleted_from_the_registry_is_reported(house: House) -> None:
    house.promote(1)
    house.registry.delete(1)
    with pytest.raises(IntegrityError, match="no such version"):
        reconcile(house.ledger, house.registry)


def test_a_deleted_predecessor_stops_nobody(house: House) -> None:
    house.promote(1)
    house.promote(2)
    house.registry.delete(1)
    assert reconcile(house.ledger, house.registry) == ()
    assert house.registry.aliases == {"champion": 2}


def test_the_anchor_has_an_alias_that_follows_the_ledger(house: House) -> None:
    house.promote(1)
    house.approve(1)
    house.promote(2)
    house.approve(2)
    assert house.registry.alias("anchor") == 2
    house.rollback()
    assert house.registry.alias("anchor") == 1
    house.registry.set_alias("anchor", 3)
    assert reconcile(house.ledger, house.registry) == ("anchor: 3 -> 1",)
    house.rollback(to=0)
    assert house.registry.aliases == {}


def test_a_versions_page_says_who_moved_it_when_and_why(house: House) -> None:
    house.registry.describe(2, "**PROMOTE**, better by 5 points", {"verdict": "PROMOTE"})
    house.promote(1)
    house.promote(2, reason="night-0002")
    house.rollback()
    first, second, *_ = house.registry.versions()
    assert second.tags["verdict"] == "PROMOTE"
    assert (second.tags["promoted_by"], second.tags["promoted_at"]) == ("ann", "2026-01-02T12:00:00Z")
    assert (second.tags["rolled_back_by"], second.tags["rolled_back_reason"]) == ("bob", "bad night")
    assert first.tags["restored_by"] == "bob"
    assert second.description == (
        "**PROMOTE**, better by 5 points\n\n**In the ledger**\n\n"
        "- 2026-01-02 12:00 UTC: promoted over version 1 by ann (ledger row 2): night-0002\n"
        "- 2026-01-02 12:00 UTC: rolled back to version 1 by bob (ledger row 3): bad night"
    )


def test_a_rollback_over_several_champions_is_on_the_page_of_each(house: House) -> None:
    for version in (1, 2, 3):
        house.promote(version)
    house.rollback(to=1)
    pages = [found.description.count("rolled back to version 1") for found in house.registry.versions()]
    assert pages == [0, 1, 1, 0]


def test_a_page_overwritten_by_hand_is_completed_and_then_left_alone(house: House) -> None:
    house.promote(1)
    house.registry.describe(1, "I like this one", {"promoted_by": "me"})
    assert reconcile(house.ledger, house.registry) == ("page of version 1: written",)
    assert reconcile(house.ledger, house.registry) == ()
    assert house.registry.versions()[0].description.startswith("I like this one\n\n**In the ledger**")
    assert house.registry.versions()[0].tags["promoted_by"] == "ann"


def test_a_page_stays_as_short_as_mlflow_keeps_it_however_often_a_version_moves(house: House) -> None:
    house.registry.describe(2, "figures " * 1000, {})
    house.promote(1)
    for _ in range(12):
        house.promote(2, reason="again " * 100)
        house.rollback()
    page = house.registry.versions()[1].description
    assert len(page) <= 5000
    assert page.startswith("figures figures")
    assert "16 earlier rows: `nightshift history`" in page
    assert reconcile(house.ledger, house.registry) == ()


class LateRegistry(MemoryRegistry):
    """Another promoter's row and alias arrive just before our first alias is set."""

    rival: list[House]

    def set_alias(self, name: str, version: int | None) -> None:
        if self.rival:
            other = self.rival.pop()
            other.promote(2)
        super().set_alias(name, version)


def test_a_promoter_who_is_late_with_the_alias_leaves_the_newest_row_standing(tmp_path: Path) -> None:
    registry = LateRegistry(tmp_path / "registry")
    registry.rival = []
    for number in (1, 2):
        registry.register(make_candidate(tmp_path / f"c{number}", f"c{number}"), tmp_path / f"c{number}", {})
    house = House(MemoryLedger(), registry)
    registry.rival = [House(house.ledger, registry)]
    house.promote(1)
    assert house.serving == 2
    assert registry.aliases == {"champion": 2, "previous_champion": 1}


@given(st.lists(st.one_of(st.integers(1, 5), st.none()), max_size=12))
def test_rollbacks_undo_promotions_in_reverse_order(moves: list[int | None]) -> None:
    expected, rows = [0], list[Promotion]()
    for move in moves:
        if move is None and len(expected) > 1:
            expected.pop()
            rows.append(_row(rows, Action.ROLLBACK, expected[-1]))
        elif move is not None and move != expected[-1]:
            expected.append(move)
            rows.append(_row(rows, Action.PROMOTE, move))
    assert champions(rows) == tuple(expected)


def _row(rows: list[Promotion], action: Action, version: int) -> Promotion:
    return link(
        rows[-1] if rows else None,
        Move(
            action=action,
            model="assistant",
            from_version=champion(rows),
            to_version=version,
            adapter_sha256=None,
            decision_id=None,
            actor="ann",
            reason="",
            recorded_at=NOON,
        ),
    )
