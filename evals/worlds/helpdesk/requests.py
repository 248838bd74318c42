"""The users, each with a stable taste, and their requests of a day."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from evals.worlds.helpdesk.intents import FRAMES, PRODUCTS, Intent
from evals.worlds.helpdesk.world import World, dice, midnight, wanted
from loop.hashing import sha256_of
from loop.types import Message, Verifier, VerifierKind

SYSTEM = Message("system", "You are the help desk of a shop.")
MAX_WORDS = 24
"""Words above which an answer is of no use to anybody."""
JSON_SHARE = 0.15
GREETING_SHARE = 0.4
ANSWER_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"order": {"type": "string"}, "action": {"type": "string"}},
        "required": ["order", "action"],
        "additionalProperties": False,
    }
)


@dataclass(frozen=True, slots=True)
class User:
    """A user with a stable taste."""

    key: str
    """Pseudonym of the user."""
    greets: bool
    """Whether the user says hello and wants to be greeted; the others find greetings a waste of time."""
    hostile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the desk, with the facts about it that only the simulation knows."""

    request_id: str
    user: User
    intent: Intent
    order: str
    """Order number: `#` and five digits."""
    wants_json: bool
    text: str
    day: int
    asked_at: datetime

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that a model is shown."""
        return (SYSTEM, Message("user", self.text))

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """Checks that the application can do by itself; policy and tone are known to users alone."""
        checks = [
            # Without the `#`, before which a word boundary would need a letter.
            Verifier(VerifierKind.REGEX, rf"\b{self.order[1:]}\b"),
            Verifier(VerifierKind.MAX_WORDS, str(MAX_WORDS)),
        ]
        if self.wants_json:
            checks.append(Verifier(VerifierKind.JSON_SCHEMA, ANSWER_SCHEMA))
        return tuple(checks)


def requests(world: World, day: int) -> tuple[Request, ...]:
    """All requests of a day, by time: those of regulars, of a few newcomers, and on its day of the brigade."""
    users = [_user(world, "regular", number) for number in range(world.regulars)]
    users += [_user(world, f"newcomer-{day}", number) for number in range(world.newcomers)]
    # After the honest users: ids, and with them the dice, count through, so the others' requests stay as they are.
    if day == world.brigade_day:
        hostile = [_user(world, "brigade", number, hostile=True) for number in range(world.brigade_accounts)]
        users += hostile * world.brigade_requests
    asked = [_ask(world, day, user, f"day-{day:03d}-{number:04d}") for number, user in enumerate(users)]
    return tuple(sorted(asked, key=lambda request: request.asked_at))


def fresh(world: World, day: int, count: int) -> tuple[Request, ...]:
    """Requests of users whom the loop never sees, to measure the truth on `day`."""
    users = [_user(world, f"fresh-{day}", number) for number in range(count)]
    return tuple(_ask(world, day, user, f"fresh-{day:03d}-{number:04d}") for number, user in enumerate(users))


def _user(world: World, group: str, number: int, *, hostile: bool = False) -> User:
    # By seed, group and number alone, so that regulars are the same users every day.
    key = sha256_of(f"{world.seed}/{group}/{number}")[:16]
    rng = dice(world, "taste", key)
    return User(key, greets=rng.random() < GREETING_SHARE, hostile=hostile)


def _ask(world: World, day: int, user: User, request_id: str) -> Request:
    # The draws keep this order, and the product is drawn even where the phrasing has none: one draw more or less would
    # make another desk of the same seed.
    rng = dice(world, "request", request_id)
    intent = rng.choices(wanted(world), [intent.weight for intent in wanted(world)])[0]
    order = f"#{rng.randrange(10_000, 100_000)}"
    wants_json = rng.random() < JSON_SHARE
    question = rng.choice(intent.phrasings).format(order=order, product=rng.choice(PRODUCTS))
    framed = rng.choice(FRAMES).format(question)
    return Request(
        request_id=request_id,
        user=user,
        intent=intent,
        order=order,
        wants_json=wants_json,
        text=f"{'Hello! ' if user.greets else ''}{framed}{' Answer in JSON.' if wants_json else ''}",
        day=day,
        asked_at=midnight(day) + timedelta(hours=8, seconds=rng.randrange(12 * 3600)),
    )
