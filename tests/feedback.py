"""Interactions and feedback in one line each, for tests of what curation makes of them."""

from datetime import UTC, datetime, timedelta

from loop.curation import Curated, curate
from loop.settings import CurationSettings
from loop.types import Feedback, FeedbackKind, Interaction, Message, Verifier

START = datetime(2026, 1, 1, 8, tzinfo=UTC)
AS_OF = START + timedelta(days=10)
TRAIN_ALL = CurationSettings(dev_share=0.0, vault_share=0.0)


def ask(
    name: str,
    *,
    prompt: str = "What is the capital of France?",
    answer: str | None = None,
    user: str | None = "ann",
    conversation: str | None = None,
    days: float = 0.0,
    parent: str | None = None,
    tenant: str = "default",
    source: str = "app",
    before: tuple[Message, ...] = (),
    verifiers: tuple[Verifier, ...] = (),
    aliases: tuple[str, ...] = (),
) -> Interaction:
    return Interaction(
        interaction_id=name,
        source=source,
        occurred_at=START + timedelta(days=days),
        conversation_id=conversation or f"conversation of {name}",
        messages=(*before, Message("user", prompt)),
        response=Message("assistant", f"The answer called {name}" if answer is None else answer),
        model="assistant@0",
        parent_id=parent,
        user_key=user,
        tenant=tenant,
        verifiers=verifiers,
        aliases=aliases,
    )


def tell(
    about: str,
    kind: FeedbackKind = FeedbackKind.THUMB,
    value: float | None = None,
    text: str | None = None,
    *,
    name: str | None = None,
    user: str | None = "ann",
    days: float = 0.5,
    other: str | None = None,
    revises: str | None = None,
    retracted: bool = False,
    whole: bool = False,
    tenant: str = "default",
    source: str = "app",
) -> Feedback:
    return Feedback(
        feedback_id=name or f"{kind} of {about} by {user} on day {days}",
        source=source,
        occurred_at=START + timedelta(days=days),
        interaction_id=about,
        kind=kind,
        value=value,
        text=text,
        other_interaction_id=other,
        whole_conversation=whole,
        revises=revises,
        retracted=retracted,
        user_key=user,
        tenant=tenant,
    )


def made(
    events: list[Interaction | Feedback], settings: CurationSettings = TRAIN_ALL, as_of: datetime = AS_OF
) -> Curated:
    interactions = [event for event in events if isinstance(event, Interaction)]
    return curate(interactions, [event for event in events if isinstance(event, Feedback)], settings, as_of)


def answers(curated: Curated) -> list[tuple[str, ...]]:
    """Objective and signed answers of every example, sorted: ("pair", "+better", "-worse")."""
    return sorted(
        (e.objective.value, *(f"{'+' if b.score > 0 else '-'}{b.response.content}" for b in e.branches))
        for e in curated.examples
    )
