"""Stage 8: a version becomes the champion on a PROMOTE decision."""

from loop import promotion
from loop.nights.parts import Parts
from loop.types import Promotion


def promote_version(parts: Parts, version: int, decision_id: str, reason: str) -> Promotion:
    """Make a version the champion on a PROMOTE decision."""
    return promotion.promote(
        parts.ledger,
        parts.registry,
        version=version,
        decision=parts.store.decision(decision_id),
        model=parts.settings.model.name,
        actor="nightshift",
        reason=reason,
        clock=parts.clock,
    )
