"""Decisions become champions here, and bad nights are undone: the ledger decides, the registry's aliases follow.

Every move is one row of the ledger, written by compare-and-set before an alias changes. Aliases are a projection of the
ledger that anyone may repeat at any time, so a crash between the two is repaired by `reconcile`.
"""

from loop.promotion.aliases import reconcile
from loop.promotion.champions import BASE, anchor, champion, champions
from loop.promotion.checks import adapter_of, fetch
from loop.promotion.moves import approve, promote, rollback

__all__ = [
    "BASE",
    "adapter_of",
    "anchor",
    "approve",
    "champion",
    "champions",
    "fetch",
    "promote",
    "reconcile",
    "rollback",
]
