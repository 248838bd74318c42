"""Small events for tests about their way, not about what is in them."""

from datetime import UTC, datetime

from loop.types import Feedback, FeedbackKind, Interaction, Message

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "s"
"""Of the pseudonyms in imported events."""


def interaction(number: int) -> Interaction:
    """`i<number>`, in one of seven conversations."""
    return Interaction(
        interaction_id=f"i{number}",
        source="app",
        occurred_at=NOON,
        conversation_id=f"c{number % 7}",
        messages=(Message("user", "Where is my order?"),),
        response=Message("assistant", "On its way."),
        model="assistant@1",
    )


def thumb(number: int, on: int | None = None) -> Feedback:
    """`f<number>`, a thumb up for interaction `on`, or for the one of the same number."""
    return Feedback(
        feedback_id=f"f{number}",
        source="app",
        occurred_at=NOON,
        interaction_id=f"i{number if on is None else on}",
        kind=FeedbackKind.THUMB,
        value=1.0,
    )
