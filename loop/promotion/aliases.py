"""Aliases and pages of the registry as a projection of the ledger: made after every row, and again after a crash."""

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

# Concurrent promoters agree after a few rounds; after so many, something else keeps setting the aliases.
_ROUNDS = 20


def reconcile(ledger: Ledger, registry: Registry) -> tuple[str, ...]:
    """Make aliases and pages say what the ledger says; returns a line for each change, none when all was well.

    The last round reads everything back and finds nothing to change, so that concurrent promoters end with the aliases
    of the newest row. Raises IntegrityError when the champion's version is gone from the registry.
    """
    done: list[str] = []
    for _ in range(_ROUNDS):
        # Read anew in each round: another promoter may have written a row since.
        repairs = _repair(registry, ledger.entries())
        if not repairs:
            return tuple(done)
        done += repairs
    raise IntegrityError(
        "the registry's aliases do not stay as they are set", "stop whoever else sets them, then `nightshift reconcile`"
    )


def _repair(registry: Registry, entries: Sequence[Promotion]) -> list[str]:
    """One round of repairs, aliases first: serving looks them up, the pages are for people."""
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
    """Version that each alias has to name; None for the base model and for a deleted version."""
    standing = champions(entries)
    serving = standing[-1]
    present = {found.version for found in registered}
    if serving != BASE and serving not in present:
        raise IntegrityError(
            f"version {serving} serves according to the ledger, but the registry has no such version",
            "restore it from the registry's backup, or `nightshift rollback` to an earlier one",
        )
    before = standing[-2] if len(standing) > 1 else BASE
    approved = anchor(entries)
    challenger = registry.alias(CHALLENGER)
    return {
        CHAMPION: serving if serving != BASE else None,
        # Only a deleted champion is an error: without a predecessor or an anchor serving goes on.
        PREVIOUS: before if before in present else None,
        ANCHOR: approved if approved in present else None,
        CHALLENGER: None if challenger == serving else challenger,
    }


def _write_facts(
    registry: Registry, entries: Sequence[Promotion], registered: Sequence[RegisteredVersion]
) -> list[str]:
    """Write who moved a version, when and why, on the pages that do not say so yet; returns a line for each page."""
    said, written = facts(entries), []
    for found in registered:
        about = said.get(found.version)
        if about is None:
            continue
        text = described(found.description, about)
        # A page overwritten by hand is completed once, and one that is complete is left alone.
        if text != found.description or not about.tags.items() <= found.tags.items():
            registry.describe(found.version, text, about.tags)
            written.append(f"page of version {found.version}: written")
    return written


def _shown(version: int | None) -> str:
    return "none" if version is None else str(version)
