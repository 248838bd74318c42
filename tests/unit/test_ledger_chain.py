from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from loop.errors import IntegrityError
from loop.promotion.ledger import GENESIS, Move, entry_hash, link, verify
from loop.types import Action, Promotion

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def chain(length: int) -> list[Promotion]:
    rows: list[Promotion] = []
    for number in range(length):
        previous = rows[-1] if rows else None
        rows.append(promotion(previous, number))
    return rows


def promotion(previous: Promotion | None, version: int, recorded_at: datetime = NOON) -> Promotion:
    return link(
        previous,
        Move(
            action=Action.PROMOTE,
            model="assistant",
            from_version=version,
            to_version=version + 1,
            adapter_sha256="ab" * 32,
            decision_id=f"d{version}",
            actor="nightshift",
            reason="better",
            recorded_at=recorded_at,
        ),
    )


def test_a_chain_begins_at_one_and_links_each_row_to_the_one_before() -> None:
    first, second, third = chain(3)
    assert [row.sequence for row in (first, second, third)] == [1, 2, 3]
    assert (first.previous_hash, second.previous_hash, third.previous_hash) == (
        GENESIS,
        first.entry_hash,
        second.entry_hash,
    )
    verify([])
    verify([first, second, third])


def test_the_hash_of_a_row_never_changes_between_releases() -> None:
    assert entry_hash(chain(1)[0]) == "0175edcb6be8bab262c4ad6db61fb50bd1c9eca970de40ba21d7d33b4403bdc1"


def test_the_hash_is_of_the_moment_not_of_the_zone_it_was_written_in() -> None:
    row = promotion(None, 0)
    assert entry_hash(replace(row, recorded_at=NOON.astimezone(timezone(timedelta(hours=-7))))) == row.entry_hash


@pytest.mark.parametrize("name", [field.name for field in fields(Promotion)])
def test_a_change_of_any_field_is_found_at_its_row(name: str) -> None:
    rows = chain(4)
    changed: dict[type, Any] = {int: 77, str: "changed", datetime: NOON + timedelta(seconds=1), Action: Action.ROLLBACK}
    rows[2] = replace(rows[2], **{name: changed[type(getattr(rows[2], name))]})
    with pytest.raises(IntegrityError, match="breaks the chain"):
        verify(rows)
    verify(rows[:2])


def test_a_rewritten_row_with_a_fresh_hash_is_found_at_its_successor() -> None:
    rows = chain(4)
    forged = replace(rows[1], reason="forged")
    rows[1] = replace(forged, entry_hash=entry_hash(forged))
    with pytest.raises(IntegrityError, match="row 3 breaks"):
        verify(rows)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_row_taken_out_is_found(missing: int) -> None:
    rows = chain(4)
    del rows[missing]
    with pytest.raises(IntegrityError, match=f"row {missing + 2} breaks"):
        verify(rows)


def test_rows_in_another_order_are_found() -> None:
    first, second, third = chain(3)
    with pytest.raises(IntegrityError, match="row 3 breaks"):
        verify([first, third, second])
