"""The help desk: the policies that hold on a day, and its random numbers; everything follows from the seed."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from evals.worlds.helpdesk.intents import INTENTS, Intent, Policy

# A fixed date, so that the same world leaves the same events whenever it is simulated.
OPENED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A help desk, its regular users and hostile accounts. Days count from 1."""

    seed: int = 1
    regulars: int = 96
    """Users who come back every day, each with one request."""
    newcomers: int = 4
    """Users a day who were never seen before and do not return."""
    intents: int = 6
    """Number of intents that people have at this desk, of ten."""
    noise: float = 0.05
    """Share of reactions that say the opposite of what the user means."""
    drift_day: int = 0
    """Day from which on other policies hold for `drifting` intents; 0 for never."""
    drifting: int = 2
    brigade_day: int = 0
    """Day on which hostile accounts appear; 0 for never."""
    brigade_accounts: int = 30
    brigade_requests: int = 3
    """Requests of each hostile account."""


def dice(world: World, *names: object) -> Random:
    """The random numbers for one named purpose: the same for the same world, whatever was drawn before."""
    parts = [str(world.seed)]
    parts.extend(map(str, names))
    return Random("/".join(parts))


def wanted(world: World) -> tuple[Intent, ...]:
    """The intents that people have at this desk."""
    return INTENTS[: world.intents]


def policy(world: World, intent: Intent, day: int) -> Policy:
    """The policy that holds for an intent on a day."""
    # Both drawn always, so that a world with a drift has the same policies before it as a world without.
    first, then = dice(world, "policy", intent.name).sample(intent.policies, 2)
    drifted = 0 < world.drift_day <= day and intent.name in drifting_intents(world)
    return then if drifted else first


def drifting_intents(world: World) -> tuple[str, ...]:
    """Names of the intents whose policy changes on the drift day."""
    return tuple(dice(world, "drift").sample([intent.name for intent in wanted(world)], world.drifting))


def midnight(day: int) -> datetime:
    """Beginning of a day; the night after day d runs at `midnight(d + 1)`."""
    return OPENED_AT + timedelta(days=day - 1)
