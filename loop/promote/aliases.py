"""The registry's aliases as a projection of the ledger: the step after every row, and the repair after a crash."""

from collections.abc import Sequence

from loop.errors import IntegrityError
from loop.ports import Ledger, Registry
from loop.promote.champions import BASE, champions
from loop.types import Promotion

CHAMPION = "champion"
PREVIOUS = "previous_champion"
CHALLENGER = "challenger"

_ROUNDS = 20


def reconcile(ledger: Ledger, registry: Registry) -> tuple[str, ...]:
    """Make the aliases say what the ledger says, and tell what had to change; empty when all was well.

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
    wanted = _aliases(registry, entries)
    found = {name: registry.alias(name) for name in wanted}
    wrong = [name for name in wanted if found[name] != wanted[name]]
    for name in wrong:
        registry.set_alias(name, wanted[name])
    return [f"{name}: {_shown(found[name])} -> {_shown(wanted[name])}" for name in wrong]


def _aliases(registry: Registry, entries: Sequence[Promotion]) -> dict[str, int | None]:
    """What each alias has to name; the base model and a deleted predecessor have none."""
    *earlier, serving = champions(entries)
    present = {registered.version for registered in registry.versions()}
    if serving != BASE and serving not in present:
        raise IntegrityError(
            f"version {serving} serves according to the ledger, but the registry has no such version",
            "restore it from the registry's backup, or `nightshift rollback` to an earlier one",
        )
    before = earlier[-1] if earlier and earlier[-1] in present else None
    challenger = registry.alias(CHALLENGER)
    return {
        CHAMPION: serving if serving != BASE else None,
        PREVIOUS: before,
        CHALLENGER: None if challenger == serving else challenger,
    }


def _shown(version: int | None) -> str:
    return "none" if version is None else str(version)
