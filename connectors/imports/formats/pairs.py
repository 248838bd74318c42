"""Imports of preference pairs: prompt/chosen/rejected, whole dialogues as messages, or Anthropic-HH transcripts."""

import re
from collections.abc import Iterator
from typing import Literal

from pydantic import Field, TypeAdapter

from connectors.imports.reading.lines import Line
from connectors.imports.reading.shapes import ChatMessage, Many, Shape, validate
from loop.errors import EventError
from loop.intake.events import message, pseudonym
from loop.types import Event, Feedback, FeedbackKind, Interaction, Message, Role

_SOURCE = "import/pairs"
_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_REMEDY = "give `prompt`, `chosen` and `rejected`, or two dialogues that differ in the last assistant message alone"

Turns = tuple[Message, ...]


class _Pair(Shape):
    prompt: str | Many[ChatMessage] | None = None
    chosen: str | Many[ChatMessage] = Field(min_length=1)
    rejected: str | Many[ChatMessage] = Field(min_length=1)
    model: str = "unknown"
    user: str | int | None = None


_PAIR = TypeAdapter(_Pair)


def decode(line: Line) -> Iterator[Event]:
    """Two interactions with the same messages, and a comparison that prefers the chosen one."""
    pair = validate(_PAIR, line.raw)
    prompt = _prompt(pair.prompt)
    chosen, rejected = _dialogue(prompt, pair.chosen), _dialogue(prompt, pair.rejected)
    # Answers to different prompts cannot be compared.
    if chosen[:-1] != rejected[:-1] or {chosen[-1].role, rejected[-1].role} != {"assistant"}:
        raise EventError("chosen and rejected do not differ in one last assistant message alone", _REMEDY)
    user_key = None if pair.user is None else pseudonym(line.secret, str(pair.user))
    better = _interaction(line, "chosen", chosen, pair.model, user_key)
    worse = _interaction(line, "rejected", rejected, pair.model, user_key)
    yield better
    yield worse
    yield Feedback(
        feedback_id=f"{line.line_id}-comparison",
        source=_SOURCE,
        occurred_at=line.observed_at,
        interaction_id=better.interaction_id,
        kind=FeedbackKind.COMPARISON,
        value=1.0,
        other_interaction_id=worse.interaction_id,
        user_key=user_key,
    )


def _interaction(
    line: Line, side: Literal["chosen", "rejected"], dialogue: Turns, model: str, user_key: str | None
) -> Interaction:
    return Interaction(
        interaction_id=f"{line.line_id}-{side}",
        source=_SOURCE,
        occurred_at=line.occurred_at,
        conversation_id=line.line_id,
        messages=dialogue[:-1],
        response=dialogue[-1],
        model=model if "@" in model else f"{model}@pairs",
        user_key=user_key,
    )


def _prompt(prompt: str | list[ChatMessage] | None) -> Turns:
    if prompt is None:
        return ()
    if not isinstance(prompt, str):
        return tuple(message(turn) for turn in prompt)
    turns = _transcript(prompt) or (Message("user", prompt),)
    # A transcript that ends in `Assistant:` leaves the answer to the two sides.
    return turns[:-1] if turns[-1] == Message("assistant", "") else turns


def _dialogue(prompt: Turns, answer: str | list[ChatMessage]) -> Turns:
    if not isinstance(answer, str):
        turns = tuple(message(turn) for turn in answer)
        # A list that begins with a user is a whole dialogue, in which the prompt stands already.
        return prompt + turns if turns[0].role == "assistant" else turns
    if prompt:
        answered = (Message("assistant", answer),)
        return prompt + answered
    turns = _transcript(answer)
    if not turns:
        raise EventError("there is neither a prompt nor a dialogue", _REMEDY)
    return turns


def _transcript(text: str) -> Turns:
    """Turns of `Human: ...` and `Assistant: ...` paragraphs; empty when `text` does not begin with `Human:`."""
    # The pattern has a group, so the result alternates: text before, then a speaker and what was said, and so on.
    parts = _SPEAKER.split(text.lstrip("\n"))
    before, speakers, said = parts[0], parts[1::2], parts[2::2]
    if before or not speakers or speakers[0] != "Human":
        return ()
    roles: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
    return tuple(
        Message(roles[speaker], paragraph.removeprefix(" ")) for speaker, paragraph in zip(speakers, said, strict=True)
    )
