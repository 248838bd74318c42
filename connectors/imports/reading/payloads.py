"""Inputs and outputs as applications log them: a text, chat messages, or either of them as JSON inside a text."""

import json
from itertools import chain
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
    """A tool call, as OpenAI (`function`) or LangChain (`name`, `args`) writes it."""

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
    """The prompt that the model was shown: messages, an object with `messages`, or one text.

    Raises EventError for anything else.
    """
    inside = parsed(value)
    if isinstance(inside, dict):
        inside = inside.get("messages")
    messages = _messages(inside)
    if messages:
        return _turns(messages)
    if isinstance(value, str) and value:
        return (Message("user", value),)
    raise EventError(
        "the input of a generation is neither text nor messages", "give a text, messages or an object with `messages`"
    )


def answer(value: JsonValue) -> Message:
    """The model's answer: a message, the last of several messages, or anything else that it wrote, as text.

    Raises EventError for a message that is not the assistant's.
    """
    inside = parsed(value)
    messages = _messages(inside)
    last = messages[-1] if messages else inside
    # Any other object is the answer itself, of a model that writes JSON.
    if isinstance(last, dict) and last.keys() & {"role", "content", "tool_calls"}:
        return only_answer(_turns([last | {"role": last.get("role") or "assistant"}]))
    return Message("assistant", as_text(value))


def parsed(value: JsonValue) -> JsonValue:
    """The value inside a text that is JSON, because exports write structures as text; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        inside: JsonValue = from_json(value, allow_inf_nan=False)
    except ValueError:
        return value
    return inside


def _messages(value: JsonValue) -> list[JsonValue]:
    """The value if it is a list of messages, else an empty list."""
    messages = value if isinstance(value, list) else []
    return messages if all(isinstance(each, dict) and "role" in each for each in messages) else []


def _turns(messages: list[JsonValue]) -> Turns:
    shapes = validate(_TURNS, json.dumps(messages, ensure_ascii=False).encode())
    return tuple(chain.from_iterable(map(_turn, shapes)))


def _turn(turn: _Turn) -> Turns:
    texts = [turn.content] if isinstance(turn.content, str) else [part.text for part in turn.content or ()]
    if turn.role == "tool":
        return of_parts("tool", [Result(turn.tool_call_id, "".join(texts))])
    calls = [_call(call) for call in turn.tool_calls or ()]
    return of_parts(turn.role, chain(texts, calls))


def _call(call: _Call) -> ToolCall:
    name, arguments = (call.function.name, call.function.arguments) if call.function else (call.name, call.args)
    return ToolCall(call_id=call.id or "", name=name, arguments=as_text(arguments))
