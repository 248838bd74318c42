"""Who asks for what: users with a stable taste, and their requests of a day."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from evals.worlds.helpdesk.intents import FRAMES, INTENTS, PRODUCTS, Intent
from evals.worlds.helpdesk.world import World, dice, midnight
from loop.types import Message, Verifier, VerifierKind

SYSTEM = Message("system", "You are the help desk of a shop.")
MAX_WORDS = 24
JSON_SHARE = 0.15
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
    """Somebody with a stable taste."""

    key: str
    """Pseudonym."""
    greets: bool
    """Says hello, and wants to be greeted; the others find greetings a waste of time."""
    wording: int
    """Which way of saying things this user writes."""
    hostile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to the desk, with what only the simulation knows of it."""

    request_id: str
    user: User
    intent: Intent
    order: str
    """`#` and five digits."""
    wants_json: bool
    text: str
    day: int
    asked_at: datetime

    @property
    def messages(self) -> tuple[Message, ...]:
        """What a model is shown."""
        return (SYSTEM, Message("user", self.text))

    @property
    def verifiers(self) -> tuple[Verifier, ...]:
        """What the application can check by itself; policy and tone are known to users alone."""
        number = Verifier(VerifierKind.REGEX, rf"\b{self.order.lstrip('#')}\b")
        length = Verifier(VerifierKind.MAX_WORDS, str(MAX_WORDS))
        return (
            (number, length, Verifier(VerifierKind.JSON_SCHEMA, ANSWER_SCHEMA)) if self.wants_json else (number, length)
        )


def requests(world: World, day: int) -> tuple[Request, ...]:
    """Everything asked on a day, in the order of time: regulars, a few newcomers, and on its day the brigade."""
    users = [_user(world, "regular", number) for number in range(world.regulars)]
    users += [_user(world, f"newcomer-{day}", number) for number in range(world.newcomers)]
    if day == world.brigade_day:
        hostile = [_user(world, "brigade", number, hostile=True) for number in range(world.brigade_accounts)]
        users += hostile * world.brigade_requests
    return tuple(sorted(_ask(world, day, users, "day"), key=lambda request: request.asked_at))


def fresh(world: World, day: int, count: int) -> tuple[Request, ...]:
    """Requests of users the loop never sees, to measure what is true on `day`."""
    users = [_user(world, f"fresh-{day}", number) for number in range(count)]
    return tuple(_ask(world, day, users, "fresh"))


def _user(world: World, group: str, number: int, *, hostile: bool = False) -> User:
    key = hashlib.sha256(f"{world.seed}/{group}/{number}".encode()).hexdigest()[:16]
    rng = dice(world, "taste", key)
    return User(key, greets=rng.random() < 0.4, wording=rng.randrange(2), hostile=hostile)


def _ask(world: World, day: int, users: Iterable[User], purpose: str) -> Iterable[Request]:
    rng = dice(world, purpose, day)
    intents = rng.choices(INTENTS, [intent.weight for intent in INTENTS], k=len(users := tuple(users)))
    for number, (user, intent) in enumerate(zip(users, intents, strict=True)):
        order = f"#{rng.randrange(10_000, 100_000)}"
        wants_json = rng.random() < JSON_SHARE
        yield Request(
            request_id=f"{purpose}-{day:03d}-{number:04d}",
            user=user,
            intent=intent,
            order=order,
            wants_json=wants_json,
            text=_text(rng, user, intent, order, wants_json=wants_json),
            day=day,
            asked_at=midnight(day) + timedelta(hours=8, seconds=rng.randrange(12 * 3600)),
        )


def _text(rng: Random, user: User, intent: Intent, order: str, *, wants_json: bool) -> str:
    question = rng.choice(intent.phrasings).format(order=order, product=rng.choice(PRODUCTS))
    greeting = "Hello! " if user.greets else ""
    return greeting + rng.choice(FRAMES).format(question) + (" Answer in JSON." if wants_json else "")
