"""Imports of sierra-research/tau-bench: a JSON array of conversations with tools and a verifiable reward."""

from collections.abc import Iterator

from pydantic import TypeAdapter

from connectors.imports.reading.lines import Line
from connectors.imports.reading.shapes import ChatMessage, Int64, Many, Shape, validate
from connectors.imports.reading.turns import split_at_last_answer
from loop.hashing import sha256_of
from loop.intake.events import message
from loop.types import Event, Feedback, FeedbackKind, Interaction

_SOURCE = "import/tau-bench"


class _Conversation(Shape):
    task_id: Int64
    trial: Int64
    reward: float
    traj: Many[ChatMessage]


_CONVERSATION = TypeAdapter(_Conversation)


def decode(line: Line) -> Iterator[Event]:
    """One interaction, the last assistant message with all before it, and the reward as the conversation's outcome.

    The user is the task, so that its trials are one cluster. The model is the part of the file name before the domain.
    """
    conversation = validate(_CONVERSATION, line.raw)
    turns = tuple(message(turn) for turn in conversation.traj)
    messages, response = split_at_last_answer(turns)
    interaction = Interaction(
        interaction_id=line.line_id,
        source=_SOURCE,
        occurred_at=line.occurred_at,
        # With the line's id, as several files have trials of the same task.
        conversation_id=f"task-{conversation.task_id}-trial-{conversation.trial}-{line.line_id}",
        messages=messages,
        response=response,
        model=f"{_model(line.file)}@tau-bench",
        user_key=_task_key(conversation.task_id, turns[0].content),
        metadata={"task_id": conversation.task_id, "trial": conversation.trial},
    )
    yield interaction
    yield Feedback(
        feedback_id=f"{line.line_id}-outcome",
        source=_SOURCE,
        occurred_at=line.observed_at,
        interaction_id=interaction.interaction_id,
        kind=FeedbackKind.OUTCOME,
        value=conversation.reward,
        whole_conversation=True,
        user_key=interaction.user_key,
    )


def _model(file: str) -> str:
    return file.removesuffix(".json").rsplit("-", 1)[0]


def _task_key(task_id: int, policy: str) -> str:
    # Each domain numbers its tasks from 0; the policy in the first message tells the domains apart.
    digest = sha256_of(f"{task_id} {policy}")
    return f"task-{digest[:32]}"
