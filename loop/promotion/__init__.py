"""Promotion and rollback of champions: the ledger decides, the registry's aliases follow.

Every move is one row of the ledger, written by compare-and-set before an alias changes. The aliases are a projection of
the ledger that can be repeated at any time, so `reconcile` repairs a crash between the two.
"""

from loop.promotion.aliases import reconcile
from loop.promotion.champions import BASE, anchor, champion, champions, last_move
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
    "last_move",
    "promote",
    "reconcile",
    "rollback",
]
