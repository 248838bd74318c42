"""A simulated help desk: ten intents, hidden policies that may drift, regular users, noise and a hostile brigade.

The loop sees only the traffic that `exchange` returns; `judge` and `fresh` give the truth, for measuring.
"""

from evals.worlds.helpdesk.exchange import Traffic, exchange
from evals.worlds.helpdesk.reactions import wish
from evals.worlds.helpdesk.requests import Request, User, fresh, requests
from evals.worlds.helpdesk.truth import Truth, judge
from evals.worlds.helpdesk.world import World, drifting_intents, midnight, policy

__all__ = [
    "Request",
    "Traffic",
    "Truth",
    "User",
    "World",
    "drifting_intents",
    "exchange",
    "fresh",
    "judge",
    "midnight",
    "policy",
    "requests",
    "wish",
]
