"""Imports of OpenAI-style chat logs: on each line a request, its answer and what the user said of it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter

from connectors.imports.reading.lines import Line
from connectors.imports.reading.shapes import ChatAnswer, ChatMessage, Many, Metadata, Name, Shape, Time, validate
from connectors.imports.reading.turns import split_at_last_answer
from loop.errors import EventError
from loop.intake import wire
from loop.intake.events import message, pseudonym
from loop.types import Event, Feedback, FeedbackKind, Interaction, Message

_SOURCE = "import/openai-chat"
_THUMBS = {"up": 1.0, "down": -1.0}
_SIGNALS = ("thumb", "rating", "score", "edit", "demonstration", "comment", "regenerate")


class _Choice(Shape):
    message: ChatAnswer


def _known(time: object) -> object:
    """The time, or None for 0, which exports write for an unknown time: as a time it is the year 1970."""
    return None if time in (0, "0") else time


_Created = Annotated[Time | None, BeforeValidator(_known)]


class _Served(Shape):
    id: Name | None = None
    model: Name | None = None
    created: _Created = None


class _Completion(_Served):
    choices: Many[_Choice] = Field(min_length=1)


class _Feedback(Shape):
    # Fields that are not signals become the feedback's metadata.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    thumb: bool | float | Literal["up", "down"] | None = None
    rating: float | None = None
    score: Annotated[float, Field(ge=0, le=1)] | None = None
    edit: str | None = None
    demonstration: str | None = None
    comment: str | None = None
    regenerate: bool | None = None
    created: _Created = None


class _Chat(_Served):
    messages: Many[ChatMessage] = Field(min_length=1)
    # From left to right, because a completion with a `role` beside its choices would also pass as a message.
    response: str | _Completion | ChatAnswer | None = Field(None, union_mode="left_to_right")
    choices: Many[_Choice] | None = None
    conversation_id: Name | None = None
    user: str | int | None = None
    feedback: _Feedback | Many[_Feedback] | None = None
    metadata: Metadata | None = None


_CHAT = TypeAdapter(_Chat)


def decode(line: Line) -> Iterator[Event]:
    """One interaction, and one feedback for each signal under `feedback`.

    The answer is `response` (text, message or completion), else `choices`, else the last assistant message. A `score`
    is an outcome. Fields of `feedback` that are not signals become its metadata.
    """
    chat = validate(_CHAT, line.raw)
    interaction = _interaction(line, chat)
    yield interaction
    for number, one in enumerate(_feedback(chat)):
        for kind, value, text in _signals(one):
            yield Feedback(
                feedback_id=f"{line.line_id}-{number}-{kind}",
                source=_SOURCE,
                # As late after its answer as the feedback of lines without a time (Line.observed_at).
                occurred_at=one.created or interaction.occurred_at + timedelta(seconds=1),
                interaction_id=interaction.interaction_id,
                kind=kind,
                value=value,
                text=text,
                user_key=interaction.user_key,
                metadata=one.__pydantic_extra__,
            )


def _feedback(chat: _Chat) -> list[_Feedback]:
    if isinstance(chat.feedback, list):
        return chat.feedback
    return [chat.feedback] if chat.feedback else []


def _interaction(line: Line, chat: _Chat) -> Interaction:
    served = chat.response if isinstance(chat.response, _Completion) else chat
    interaction_id = chat.id or served.id or line.line_id
    messages, response = _answered(chat)
    model = chat.model or served.model or "unknown"
    return Interaction(
        interaction_id=interaction_id,
        source=_SOURCE,
        occurred_at=chat.created or served.created or line.occurred_at,
        conversation_id=chat.conversation_id or interaction_id,
        messages=messages,
        response=response,
        model=model if "@" in model else f"{model}@openai-chat",
        # An empty name is no user: as a pseudonym it would make one user of all who have none.
        user_key=None if chat.user in (None, "") else pseudonym(line.secret, str(chat.user)),
        metadata=chat.metadata or {},
    )


def _answered(chat: _Chat) -> tuple[tuple[Message, ...], Message]:
    messages = tuple(message(turn) for turn in chat.messages)
    if isinstance(chat.response, str):
        return messages, Message("assistant", chat.response)
    if isinstance(chat.response, wire.ChatAnswer):
        return messages, message(chat.response)
    choices = chat.response.choices if chat.response else chat.choices
    return (messages, message(choices[0].message)) if choices else split_at_last_answer(messages)


def _signals(said: _Feedback) -> list[tuple[FeedbackKind, float | None, str | None]]:
    values = {
        FeedbackKind.THUMB: _thumb(said.thumb),
        FeedbackKind.RATING: said.rating,
        FeedbackKind.OUTCOME: said.score,
    }
    texts = {
        FeedbackKind.EDIT: said.edit,
        FeedbackKind.DEMONSTRATION: said.demonstration,
        FeedbackKind.COMMENT: said.comment,
    }
    signals: list[tuple[FeedbackKind, float | None, str | None]] = []
    for kind, value in values.items():
        if value is not None:
            signals.append((kind, value, None))
    for kind, text in texts.items():
        if text is not None:
            signals.append((kind, None, text))
    if said.regenerate:
        signals.append((FeedbackKind.REGENERATE, None, None))
    # `regenerate: false` says nothing, but is no mistake either.
    if not signals and said.regenerate is None:
        raise EventError(f"feedback has none of {', '.join(_SIGNALS)}", "rename the fields of `feedback`")
    return signals


def _thumb(thumb: bool | float | str | None) -> float | None:
    """The value of a thumb: +1 for up, true and 1; -1 for down, false, 0 and -1.

    Another number stays as it is, and is refused as an event.
    """
    if isinstance(thumb, str):
        return _THUMBS[thumb]
    return -1.0 if thumb == 0 else thumb
