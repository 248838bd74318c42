"""Imports of OpenTelemetry's GenAI telemetry: spans, span events and log records of answers and their evaluations.

The names are those of the semantic conventions 1.41.1, the last release before the GenAI conventions moved to a
repository of their own; only this file has them, above and in `_Attributes`. Messages stand on the span, on an event of
it or in the log, structured or as JSON text; without captured messages there is nothing to import. The first of several
choices is the answer, reasoning is left out, and parts that are not text are refused.

An interaction is named by its response id and by its span, so that an evaluation finds it by either. The conventions do
not say who evaluated: every evaluation counts as automatic, with higher being better. Leave out metrics where lower is
better.
"""

import json
from collections.abc import Iterator, Sequence

from pydantic import Field, Json, JsonValue, TypeAdapter

from connectors.imports.formats.otlp import Recorded, recorded
from connectors.imports.reading.fields import Number, Whole, as_text, sampling
from connectors.imports.reading.lines import Line
from connectors.imports.reading.opinions import by_evaluator
from connectors.imports.reading.shapes import Many, Shape, validate
from connectors.imports.reading.turns import Result, Turns, of_parts, only_answer
from loop.errors import EventError
from loop.hashing import sha256_of
from loop.intake.events import pseudonym
from loop.types import Event, Feedback, Interaction, ToolCall

_SOURCE = "import/otel"
_REMEDY = "compare it with the GenAI semantic conventions 1.41.1"

_DETAILS, _EVALUATION = "gen_ai.client.inference.operation.details", "gen_ai.evaluation.result"
_OPERATION, _OUTPUT, _RESPONSE = "gen_ai.operation.name", "gen_ai.output.messages", "gen_ai.response.id"
_INFERENCE = ("chat", "text_completion", "generate_content")
_EVENT_NAME = "event.name"
"""Attribute with the event's name in log records from before they had a field for it."""


class _Part(Shape):
    type: str
    content: str | None = None
    id: str | None = None
    name: str | None = None
    arguments: JsonValue = None
    response: JsonValue = None
    result: JsonValue = None
    """Name that some SDKs give the response."""


class _Message(Shape):
    role: str
    parts: Many[_Part]


class _Attributes(Shape):
    input: Json[Many[_Message]] | Many[_Message] | None = Field(None, alias="gen_ai.input.messages")
    output: Json[Many[_Message]] | Many[_Message] | None = Field(None, alias=_OUTPUT)
    system: Json[Many[_Part]] | Many[_Part] | None = Field(None, alias="gen_ai.system_instructions")
    conversation: str | None = Field(None, alias="gen_ai.conversation.id")
    response: str | None = Field(None, alias=_RESPONSE)
    answered_by: str | None = Field(None, alias="gen_ai.response.model")
    asked: str | None = Field(None, alias="gen_ai.request.model")
    temperature: Number = Field(None, alias="gen_ai.request.temperature")
    top_p: Number = Field(None, alias="gen_ai.request.top_p")
    max_tokens: Whole = Field(None, alias="gen_ai.request.max_tokens")
    seed: Whole = Field(None, alias="gen_ai.request.seed")
    user: str | int | None = Field(None, alias="user.id")
    end_user: str | int | None = Field(None, alias="enduser.id")
    evaluation: str = Field("evaluation", alias="gen_ai.evaluation.name")
    score: Number = Field(None, alias="gen_ai.evaluation.score.value")
    label: str | None = Field(None, alias="gen_ai.evaluation.score.label")
    explanation: str | None = Field(None, alias="gen_ai.evaluation.explanation")
    error: str | None = Field(None, alias="error.type")


_ATTRIBUTES = TypeAdapter(_Attributes)


def decode(line: Line) -> Iterator[Event]:
    """An interaction for each inference with captured messages, and a feedback for each evaluation.

    Other telemetry gives nothing. The user is `user.id`, else `enduser.id`. An evaluation without a response id is
    about its span.
    """
    for record in recorded(line.raw):
        if record.name is None:
            yield from _of_span(line, record)
        else:
            yield from _of_log(line, record)


def _of_span(line: Line, span: Recorded) -> Iterator[Event]:
    known = dict(span.attributes)
    # The messages may stand on an event of the span instead of the span itself.
    for event in span.events:
        if event.name == _DETAILS:
            known |= event.attributes
    yield from _inference(line, span, known)
    for event in span.events:
        if event.name == _EVALUATION:
            # About the span's own response, unless the evaluation names one.
            yield from _evaluation(line, event, {_RESPONSE: known.get(_RESPONSE)} | dict(event.attributes))


def _of_log(line: Line, record: Recorded) -> Iterator[Event]:
    name = record.name or record.attributes.get(_EVENT_NAME)
    if name == _DETAILS:
        yield from _inference(line, record, dict(record.attributes))
    elif name == _EVALUATION:
        yield from _evaluation(line, record, dict(record.attributes))


def _read(attributes: dict[str, JsonValue]) -> _Attributes:
    return validate(_ATTRIBUTES, json.dumps(attributes, ensure_ascii=False).encode())


def _inference(line: Line, record: Recorded, attributes: dict[str, JsonValue]) -> Iterator[Interaction]:
    if attributes.get(_OPERATION) not in _INFERENCE or not attributes.get(_OUTPUT):
        return
    said = _read(attributes)
    if not said.input or not said.output:
        raise EventError("an inference has no input messages or no choice", "capture gen_ai.input.messages too")
    interaction_id = said.response or record.span or line.line_id
    user = said.user or said.end_user
    messages = list(_system(said.system))
    for message in said.input:
        messages += _turns(message)
    yield Interaction(
        interaction_id=interaction_id,
        source=_SOURCE,
        occurred_at=record.at or line.occurred_at,
        conversation_id=said.conversation or record.trace or interaction_id,
        messages=tuple(messages),
        response=only_answer(_turns(said.output[0])),
        aliases=(record.span,) if record.span and record.span != interaction_id else (),
        model=f"{said.answered_by or said.asked or 'unknown'}@otel",
        user_key=pseudonym(line.secret, str(user)) if user else None,
        sampling=sampling(said.temperature, said.top_p, said.max_tokens, said.seed),
    )


def _evaluation(line: Line, record: Recorded, attributes: dict[str, JsonValue]) -> Iterator[Feedback]:
    said = _read(attributes)
    if said.error:
        return
    about = said.response or record.span
    if about is None:
        raise EventError("an evaluation names neither a response nor a span", _REMEDY)
    kind, value, text = by_evaluator(said.evaluation, said.score, said.label, said.explanation)
    fields = {"name": said.evaluation, "score": said.score, "label": said.label, "explanation": said.explanation}
    # An evaluation has no id of its own; by its content the same one read twice, or from a log record, is one feedback.
    content = json.dumps([about, str(record.at), fields])
    yield Feedback(
        feedback_id=sha256_of(content)[:32],
        source=_SOURCE,
        occurred_at=record.at or line.observed_at,
        interaction_id=about,
        kind=kind,
        value=value,
        text=text,
        metadata={name: value for name, value in fields.items() if value is not None},
    )


def _system(parts: Sequence[_Part] | None) -> Turns:
    return of_parts("system", map(_content, parts)) if parts else ()


def _turns(message: _Message) -> Turns:
    return of_parts(message.role, map(_content, message.parts))


def _content(part: _Part) -> str | ToolCall | Result | None:
    match part:
        case _Part(type="text", content=str(text)):
            return text
        case _Part(type="tool_call", name=str(name)):
            arguments = "{}" if part.arguments is None else as_text(part.arguments)
            return ToolCall(call_id=part.id or "", name=name, arguments=arguments)
        case _Part(type="tool_call_response"):
            return Result(part.id, as_text(part.result if part.response is None else part.response))
        case _Part(type="reasoning"):
            return None
        case _:
            raise EventError(f"a part of type {part.type!r} cannot be read as text", _REMEDY)
