"""Conversations, shared by the formats that keep question and answer in one list."""

from loop.errors import EventError
from loop.types import Message


def split_at_last_answer(turns: tuple[Message, ...]) -> tuple[tuple[Message, ...], Message]:
    """Everything before the last assistant message, and that message; what follows it is left out.

    Raises EventError when nothing was answered.
    """
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers:
        raise EventError("the conversation has no assistant message", "leave unanswered conversations out of the file")
    return turns[: answers[-1]], turns[answers[-1]]
