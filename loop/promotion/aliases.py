"""Aliases and pages of the registry as a projection of the ledger: the step after every row, repair after a crash."""

from collections.abc import Sequence

from loop.errors import IntegrityError
from loop.ports import Ledger, RegisteredVersion, Registry
from loop.promotion.champions import BASE, anchor, champions
from loop.promotion.facts import described, facts
from loop.types import Promotion

CHAMPION = "champion"
PREVIOUS = "previous_champion"
ANCHOR = "anchor"
CHALLENGER = "challenger"

_ROUNDS = 20


def reconcile(ledger: Ledger, registry: Registry) -> tuple[str, ...]:
    """Make aliases and pages say what the ledger says, and tell what had to change; empty when all was well.

    The last look always finds nothing to change, which is the read-back, and lets concurrent promoters end with the
    aliases of the newest row. Raises IntegrityError when the champion's version is gone from the registry.
    """
    done: list[str] = []
    for _ in range(_ROUNDS):
        repairs = _repair(registry, ledger.entries())
        if not repairs:
            return tuple(done)
        done += repairs
    raise IntegrityError(
        "the registry's aliases do not stay as they are set", "stop whoever else sets them, then `nightshift reconcile`"
    )


def _repair(registry: Registry, entries: Sequence[Promotion]) -> list[str]:
    """Aliases first: serving looks them up, the pages are for people."""
    registered = registry.versions()
    wanted = _aliases(registry, entries, registered)
    found = {name: registry.alias(name) for name in wanted}
    wrong = [name for name in wanted if found[name] != wanted[name]]
    for name in wrong:
        registry.set_alias(name, wanted[name])
    moved = [f"{name}: {_shown(found[name])} -> {_shown(wanted[name])}" for name in wrong]
    return moved + _write_facts(registry, entries, registered)


def _aliases(
    registry: Registry, entries: Sequence[Promotion], registered: Sequence[RegisteredVersion]
) -> dict[str, int | None]:
    """What each alias has to name; the base model and a deleted version have none."""
    *earlier, serving = champions(entries)
    present = {found.version for found in registered}
    if serving != BASE and serving not in present:
        raise IntegrityError(
            f"version {serving} serves according to the ledger, but the registry has no such version",
            "restore it from the registry's backup, or `nightshift rollback` to an earlier one",
        )
    before = earlier[-1] if earlier else BASE
    approved = anchor(entries)
    challenger = registry.alias(CHALLENGER)
    return {
        CHAMPION: serving if serving != BASE else None,
        PREVIOUS: before if before in present else None,
        ANCHOR: approved if approved in present else None,
        CHALLENGER: None if challenger == serving else challenger,
    }


def _write_facts(
    registry: Registry, entries: Sequence[Promotion], registered: Sequence[RegisteredVersion]
) -> list[str]:
    """Who moved a version, when and why, on the pages that do not say so yet."""
    said, written = facts(entries), []
    for found in registered:
        about = said.get(found.version)
        if about is None:
            continue
        text = described(found.description, about)
        if text != found.description or not about.tags.items() <= found.tags.items():
            registry.describe(found.version, text, about.tags)
            written.append(f"page of version {found.version}: written")
    return written


def _shown(version: int | None) -> str:
    return "none" if version is None else str(version)
