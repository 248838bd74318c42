"""Actions of the ledger: which of them change who serves."""

from loop.types import Action


def moves_champion(action: Action) -> bool:
    """Whether a row with this action makes another version serve; an approval only names one."""
    match action:
        case Action.PROMOTE | Action.ROLLBACK:
            return True
        case Action.ANCHOR:
            return False
