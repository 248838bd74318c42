"""Feedback with its interaction, as the steps of curation pass it on, and the voice behind both."""

from dataclasses import dataclass

from loop.types import Feedback, Interaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Feedback in force, with the interaction it is about."""

    feedback: Feedback
    interaction: Interaction
    other: Interaction | None
    """The second interaction of a comparison."""
    account: str
    """Owner of the opinion: the user, or the conversation of an anonymous one."""


def cluster(interaction: Interaction) -> str:
    """The voice that is counted once: the user, or the conversation of an anonymous one."""
    return interaction.user_key or f"conversation:{interaction.conversation_id}"
