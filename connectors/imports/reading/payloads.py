"""Inputs and outputs as applications log them: a text, chat messages, or either as JSON inside a text."""

import json
from typing import Literal

from pydantic import JsonValue, TypeAdapter
from pydantic_core import from_json

from connectors.imports.reading.fields import as_text
from connectors.imports.reading.shapes import Many, Shape, validate
from connectors.imports.reading.turns import Result, Turns, of_parts, only_answer
from loop.errors import EventError
from loop.types import Message, ToolCall


class _Function(Shape):
    name: str
    arguments: JsonValue = ""


class _Call(Shape):
    """A tool call as OpenAI (`function`) or LangChain (`name`, `args`) writes it."""

    id: str | None = None
    function: _Function | None = None
    name: str = ""
    args: JsonValue = None


class _Text(Shape):
    type: Literal["text", "input_text", "output_text"]
    text: str


class _Turn(Shape):
    role: str
    content: str | Many[_Text] | None = None
    tool_calls: Many[_Call] | None = None
    tool_call_id: str | None = None


_TURNS = TypeAdapter(Many[_Turn])


def prompt(value: JsonValue) -> Turns:
    """What the model was shown: messages, an object with `messages`, or one text. Raises EventError for all else."""
    inside = parsed(value)
    if isinstance(inside, dict):
        inside = inside.get("messages")
    if messages := _messages(inside):
        return _turns(messages)
    if isinstance(value, str) and value:
        return (Message("user", value),)
    raise EventError(
        "the input of a generation is neither text nor messages", "give a text, messages or an object with `messages`"
    )


def answer(value: JsonValue) -> Message:
    """What the model said: a message, the last of several, or whatever else it wrote, as text.

    Raises EventError for a message that is no text of the assistant.
    """
    inside = parsed(value)
    messages = _messages(inside)
    last = messages[-1] if messages else inside
    if isinstance(last, dict) and last.keys() & {"role", "content", "tool_calls"}:
        return only_answer(_turns([last | {"role": last.get("role") or "assistant"}]))
    return Message("assistant", as_text(value))


def parsed(value: JsonValue) -> JsonValue:
    """What a text says that is JSON, because exports write structures as text; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        inside: JsonValue = from_json(value, allow_inf_nan=False)
    except ValueError:
        return value
    return inside


def _messages(value: JsonValue) -> list[JsonValue]:
    """`value` where it is messages, else nothing."""
    messages = value if isinstance(value, list) else []
    return messages if all(isinstance(each, dict) and "role" in each for each in messages) else []


def _turns(messages: list[JsonValue]) -> Turns:
    shapes = validate(_TURNS, json.dumps(messages, ensure_ascii=False).encode())
    return tuple(turn for shape in shapes for turn in _turn(shape))


def _turn(turn: _Turn) -> Turns:
    texts = [turn.content] if isinstance(turn.content, str) else [part.text for part in turn.content or ()]
    if turn.role == "tool":
        return of_parts("tool", [Result(turn.tool_call_id, "".join(texts))])
    return of_parts(turn.role, [*texts, *map(_call, turn.tool_calls or ())])


def _call(call: _Call) -> ToolCall:
    name, arguments = (call.function.name, call.function.arguments) if call.function else (call.name, call.args)
    return ToolCall(call_id=call.id or "", name=name, arguments=as_text(arguments))
