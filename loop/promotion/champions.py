"""State of the ledger, as pure folds over its rows: the champion, those before it, and the anchor."""

from collections.abc import Sequence

from loop.types import Action, Promotion

BASE = 0
"""Version of the base model without an adapter: the first champion, never registered."""


def champions(entries: Sequence[Promotion]) -> tuple[int, ...]:
    """The stack of champions, the serving one last: a promotion pushes, a rollback pops down to its target."""
    stack = [BASE]
    for entry in entries:
        match entry.action:
            case Action.PROMOTE:
                stack.append(entry.to_version)
            case Action.ROLLBACK:
                stack = stack[: _last_index(stack, entry.to_version) + 1]
            case Action.ANCHOR:
                pass
    return tuple(stack)


def champion(entries: Sequence[Promotion]) -> int:
    """The version that serves."""
    return champions(entries)[-1]


def last_move(entries: Sequence[Promotion]) -> Promotion | None:
    """The row that made the champion serve; None while the first champion, the base model, was never replaced."""
    return next((entry for entry in reversed(entries) if entry.moves_champion), None)


def sha256_of_champion(entries: Sequence[Promotion]) -> str | None:
    """The sha256 that the ledger recorded for the adapter that serves; None for the base model."""
    moved = last_move(entries)
    return moved.adapter_sha256 if moved else None


def anchor(entries: Sequence[Promotion]) -> int:
    """The champion that a person approved last and nobody rolled back since; the base model when there is none."""
    # A rollback that takes a champion back takes its approval with it, and the one before counts again.
    standing = champions(entries)
    approved = (entry.to_version for entry in reversed(entries) if entry.action is Action.ANCHOR)
    return next((version for version in approved if version in standing), BASE)


def _last_index(stack: Sequence[int], version: int) -> int:
    # The last: a version promoted twice is in the stack twice, and a rollback goes to the nearest.
    return len(stack) - 1 - stack[::-1].index(version)
