"""The three moves: promote, rollback, approve. Each is checks, one row, then the aliases."""

from collections.abc import Sequence

from loop.errors import NotFoundError, NothingToRollBackError, StaleChampionError
from loop.identity import require_decision
from loop.ports import Clock, Ledger, Registry
from loop.promotion.aliases import reconcile
from loop.promotion.champions import BASE, anchor, champion, champions
from loop.promotion.checks import (
    overtaken,
    require_candidate,
    require_fresh,
    require_model,
    require_permission,
    verified,
)
from loop.promotion.ledger import link
from loop.types import Action, Decision, Promotion


def promote(
    ledger: Ledger,
    registry: Registry,
    *,
    version: int,
    decision: Decision | None,
    model: str,
    actor: str,
    reason: str,
    clock: Clock,
) -> Promotion:
    """Make `version` the champion, on a PROMOTE decision or, without one, on a human's word with a reason.

    Repeated for the version that already serves, it returns the row that made it champion. Raises StaleChampionError
    when the champion is not the one the decision was made against or the decision was used before, UsageError when the
    decision does not allow it, NotFoundError and IntegrityError when the adapter is missing, or adapter or decision
    are not as they were when the gate decided.
    """
    entries = ledger.entries()
    require_model(entries, model)
    require_permission(decision, reason)
    found = verified(registry, entries, version)
    if champion(entries) == version:
        return _again(ledger, registry, entries)
    if decision is not None:
        require_decision(decision)
        require_candidate(found, decision)
        require_fresh(entries, decision)
    entry = link(
        entries[-1] if entries else None,
        action=Action.PROMOTE,
        model=model,
        from_version=champion(entries),
        to_version=version,
        adapter_sha256=found.adapter_sha256,
        decision_id=decision.decision_id if decision else None,
        actor=actor,
        reason=reason,
        recorded_at=clock(),
    )
    return _write(ledger, registry, entry)


def rollback(ledger: Ledger, registry: Registry, *, to: int | None, actor: str, reason: str, clock: Clock) -> Promotion:
    """Return to the champion before this one, or to the earlier champion `to`; 0 is the base model.

    Twice back is two steps back; to the version that already serves, it returns the row that made it champion. Raises
    NothingToRollBackError at the bottom, NotFoundError when `to` never was a champion, IntegrityError when its adapter
    is altered, StaleChampionError when somebody else moved the champion meanwhile.
    """
    entries = ledger.entries()
    standing = champions(entries)
    if len(standing) == 1:
        raise NothingToRollBackError(
            "the base model serves, nothing is before it", "`nightshift history` shows the ledger"
        )
    target = standing[-2] if to is None else to
    if target not in standing:
        names = ", ".join(map(str, standing))
        raise NotFoundError(
            f"version {target} is not an earlier champion", f"roll back to one of {names}, or promote it"
        )
    sha256 = verified(registry, entries, target).adapter_sha256 if target != BASE else None
    if champion(entries) == target:
        return _again(ledger, registry, entries)
    entry = link(
        entries[-1],
        action=Action.ROLLBACK,
        model=entries[-1].model,
        from_version=champion(entries),
        to_version=target,
        adapter_sha256=sha256,
        decision_id=None,
        actor=actor,
        reason=reason,
        recorded_at=clock(),
    )
    return _write(ledger, registry, entry)


def approve(
    ledger: Ledger, registry: Registry, *, version: int, model: str, actor: str, reason: str, clock: Clock
) -> Promotion:
    """Make a champion, or one it can be rolled back to, the anchor that no candidate may fall behind.

    Raises NotFoundError for a version that is neither, IntegrityError when its adapter is altered.
    """
    entries = ledger.entries()
    require_model(entries, model)
    if version not in champions(entries) or not entries:
        raise NotFoundError(
            f"version {version} is not a champion",
            "promote it first; the anchor is a champion that was not rolled back",
        )
    entry = link(
        entries[-1],
        action=Action.ANCHOR,
        model=model,
        from_version=anchor(entries),
        to_version=version,
        adapter_sha256=verified(registry, entries, version).adapter_sha256 if version != BASE else None,
        decision_id=None,
        actor=actor,
        reason=reason,
        recorded_at=clock(),
    )
    return _write(ledger, registry, entry)


def _write(ledger: Ledger, registry: Registry, entry: Promotion) -> Promotion:
    """Ledger first, aliases after."""
    try:
        ledger.append(entry)
    except StaleChampionError as error:
        raise overtaken(ledger.entries()) from error
    reconcile(ledger, registry)
    return entry


def _again(ledger: Ledger, registry: Registry, entries: Sequence[Promotion]) -> Promotion:
    """The row that made the champion what it is, with the aliases repaired."""
    reconcile(ledger, registry)
    return next(entry for entry in reversed(entries) if entry.action is not Action.ANCHOR)
