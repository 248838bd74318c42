"""The three moves promote, rollback and approve: each makes its checks, writes one row, then sets the aliases."""

from collections.abc import Sequence

from loop.actions import moves_champion
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
    """Make `version` the champion, on a PROMOTE decision or, without one, on a person's word with a reason.

    Repeated for the version that already serves, it returns the row that made it champion. Raises StaleChampionError
    for a decision that was used before or is about another champion, UsageError for one that does not allow it,
    NotFoundError when the adapter is missing, IntegrityError when adapter or decision were altered since.
    """
    entries = ledger.entries()
    require_model(entries, model)
    require_permission(decision, reason)
    found = verified(registry, entries, version)
    if champion(entries) == version:  # before the decision: a promotion repeated after a crash has used it already
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

    Two rollbacks go two steps back. For the version that already serves, it returns the row that made it champion.
    Raises NothingToRollBackError while the base model serves, NotFoundError when `to` is no earlier champion,
    IntegrityError when its adapter was altered, StaleChampionError when somebody else moved the champion meanwhile.
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
    # The target alone is checked, so that a champion with broken files can be left.
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
    if version not in champions(entries) or not entries:  # the base model serves before there is a row to follow
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
    """Write the row, then the aliases, so that `reconcile` can repair a crash between the two."""
    try:
        ledger.append(entry)
    except StaleChampionError as error:
        # Read again: the rows that this move was planned on do not have the one that overtook it.
        raise overtaken(ledger.entries()) from error
    reconcile(ledger, registry)
    return entry


def _again(ledger: Ledger, registry: Registry, entries: Sequence[Promotion]) -> Promotion:
    """The row that made the serving version champion, after the aliases are repaired."""
    reconcile(ledger, registry)
    return next(entry for entry in reversed(entries) if moves_champion(entry.action))
