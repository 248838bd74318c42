"""Conversations of the formats that keep question and answer in one list, or messages in parts."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from loop.errors import EventError
from loop.types import Message, Role, ToolCall

Turns = tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of a tool to one call."""

    call_id: str | None
    text: str


# OpenAI's newer models call the system's messages the developer's.
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def split_at_last_answer(turns: Turns) -> tuple[Turns, Message]:
    """The turns before the last assistant message, and that message; turns after it are left out.

    Raises EventError when there is no assistant message.
    """
    answers = [index for index, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers:
        raise EventError("the conversation has no assistant message", "leave unanswered conversations out of the file")
    return turns[: answers[-1]], turns[answers[-1]]


def of_parts(role: str, parts: Iterable[str | ToolCall | Result | None]) -> Turns:
    """One foreign message as turns: a tool message for each result in it, then one with its texts and calls.

    Raises EventError for an unknown role.
    """
    if role not in _ROLES:
        raise EventError(f"there is no role {role!r}", "use system, user, assistant or tool")
    said = [part for part in parts if part is not None]
    results = tuple(Message("tool", part.text, (), part.call_id) for part in said if isinstance(part, Result))
    # Results are messages of their own here, so a message of results alone has nothing else to say.
    if results and len(results) == len(said):
        return results
    texts = (part for part in said if isinstance(part, str))
    calls = (part for part in said if isinstance(part, ToolCall))
    rest = (Message(_ROLES[role], "".join(texts), tuple(calls)),)
    return results + rest


def only_answer(turns: Turns) -> Message:
    """The only turn, an assistant message. Raises EventError when `turns` are anything else."""
    if len(turns) != 1 or turns[0].role != "assistant":
        raise EventError("the output is not one message of the assistant", "leave this answer out of the file")
    return turns[0]
