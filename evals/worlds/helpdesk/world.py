"""The help desk itself: what holds on which day, and the dice; everything follows from the seed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from evals.worlds.helpdesk.intents import INTENTS, Intent, Policy

OPENED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A help desk, its regular users and its enemies. Days count from 1; day 0 never comes."""

    seed: int = 1
    regulars: int = 96
    """Users who come back every day, each with one request."""
    newcomers: int = 4
    """Users a day who were never seen before and do not return."""
    intents: int = 6
    """So many of the things people can want are wanted here, of ten."""
    noise: float = 0.05
    """Share of reactions that say the opposite of what the user means."""
    drift_day: int = 0
    """From this day on other policies hold for `drifting` intents; 0 for never."""
    drifting: int = 2
    brigade_day: int = 0
    """On this day hostile accounts appear; 0 for never."""
    brigade_accounts: int = 30
    brigade_requests: int = 3
    """Requests of each hostile account."""


def dice(world: World, *names: object) -> Random:
    """The random numbers of one named purpose: the same for the same world, whatever was drawn before."""
    return Random("/".join(map(str, (world.seed, *names))))


def wanted(world: World) -> tuple[Intent, ...]:
    """What people want at this desk."""
    return INTENTS[: world.intents]


def policy(world: World, intent: Intent, day: int) -> Policy:
    """The policy that holds for an intent on a day."""
    first, then = dice(world, "policy", intent.name).sample(intent.policies, 2)
    drifted = 0 < world.drift_day <= day and intent.name in drifting_intents(world)
    return then if drifted else first


def drifting_intents(world: World) -> tuple[str, ...]:
    """Names of the intents whose policy changes on the drift day."""
    return tuple(dice(world, "drift").sample([intent.name for intent in wanted(world)], world.drifting))


def midnight(day: int) -> datetime:
    """When a day begins; the night after day d runs at `midnight(d + 1)`."""
    return OPENED_AT + timedelta(days=day - 1)
