"""Imports of TensorZero: rows of its inference and feedback tables, as JSONEachRow or as the gateway's API gives them.

Lines of all tables may be mixed, in any order and in several files. An inference is an interaction. It is named by its
own id, and also by its episode's unless it only calls tools. So a metric on an inference finds it, and a metric on an
episode, whose row looks the same, finds the last answer in it before the metric.

A boolean metric is a thumb, a float metric a rating. Rows say neither that lower is better nor that two metrics have
different scales: leave out metrics that do not fit. Only ModelInference has the text of prompts that are templates:
their inferences are refused, and the rows of ModelInference, which know neither user nor episode, replace them. Runs of
TensorZero's own evaluations are no traffic of users and are left out.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import AliasChoices, BeforeValidator, Discriminator, Field, Json, JsonValue, Tag, TypeAdapter

from connectors.imports.formats.blocks import Block, BlockMessage, Input, JsonOutput, Output, answer, messages, shown
from connectors.imports.reading.fields import Number, UtcTime, Whole, as_text, sampling
from connectors.imports.reading.lines import Line
from connectors.imports.reading.shapes import Many, Name, Shape, validate
from loop.intake.events import pseudonym
from loop.types import Event, Feedback, FeedbackKind, Interaction, Verifier, VerifierKind

_SOURCE = "import/tensorzero"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RUN, _EVALUATION = "tensorzero::evaluation_run_id", "tensorzero::evaluation_name::"
_USER = "user_id"


class _Completion(Shape):
    temperature: Number = None
    top_p: Number = None
    max_tokens: Whole = None
    seed: Whole = None


class _Parameters(Shape):
    chat_completion: _Completion | None = None


# ClickHouse writes an empty text for a JSON column without a value.
_Blank = BeforeValidator(lambda value: value or None)
_Tags = dict[str, str] | None


class _Row(Shape):
    id: Name
    timestamp: UtcTime | None = Field(None, validation_alias=AliasChoices("timestamp", "created_at"))


class _Inference(_Row):
    id: Name = Field(validation_alias=AliasChoices("inference_id", "id"))
    function_name: str
    variant_name: str
    episode_id: Name
    input: Json[Input] | Input
    output: Annotated[Json[Output] | Output | None, _Blank] = None
    output_schema: Annotated[JsonValue, _Blank] = None
    inference_params: Annotated[Json[_Parameters] | _Parameters | None, _Blank] = None
    tags: _Tags = None


class _ModelInference(_Row):
    inference_id: Name
    model_name: str
    system: str | None = None
    input_messages: Json[Many[BlockMessage]] | Many[BlockMessage]
    output: Annotated[Json[Many[Block]] | Many[Block] | None, _Blank] = None


class _Metric(_Row):
    target_id: Name
    metric_name: str
    value: bool | float
    tags: _Tags = None


class _Comment(_Row):
    target_id: Name
    target_type: str
    value: str


class _Demonstration(_Row):
    inference_id: Name
    value: Annotated[Json[Output] | Output | str, Field(union_mode="left_to_right")]


# In this order, because a metric, a comment and a demonstration all have a `value`.
_TABLES = (
    ("inference", "function_name"),
    ("model", "input_messages"),
    ("metric", "metric_name"),
    ("comment", "target_type"),
    ("demonstration", "value"),
)


def _table(row: object) -> str | None:
    """The table of a row: the first one whose column the row has, as no later table has that column."""
    if not isinstance(row, Mapping):
        return None
    return next((table for table, column in _TABLES if column in row), None)


_ROW: TypeAdapter[_Inference | _ModelInference | _Metric | _Comment | _Demonstration] = TypeAdapter(
    Annotated[
        Annotated[_Inference, Tag("inference")]
        | Annotated[_ModelInference, Tag("model")]
        | Annotated[_Metric, Tag("metric")]
        | Annotated[_Comment, Tag("comment")]
        | Annotated[_Demonstration, Tag("demonstration")],
        Discriminator(
            _table, custom_error_type="row", custom_error_message="the line is no row of an inference or a feedback"
        ),
    ]
)


def decode(line: Line) -> Iterator[Event]:
    """An interaction for an inference with an answer, a feedback for a metric, a comment or a demonstration.

    The user is the tag `user_id`. A row without a time has that of its UUIDv7.
    """
    row = validate(_ROW, line.raw)
    match row:
        case _Inference():
            yield from _inference(line, row)
        case _ModelInference():
            yield from _model_inference(line, row)
        case _Metric():
            yield from _metric(line, row)
        case _Comment():
            yield _feedback(line, row, row.target_id, FeedbackKind.COMMENT, text=row.value)
        case _Demonstration():
            yield _feedback(line, row, row.inference_id, FeedbackKind.DEMONSTRATION, text=shown(row.value))


def _inference(line: Line, row: _Inference) -> Iterator[Interaction]:
    tags = row.tags or {}
    if not row.output or row.output == JsonOutput(raw=None) or _RUN in tags:
        return
    drawn = (row.inference_params or _Parameters()).chat_completion or _Completion()
    said = answer(row.output)
    yield Interaction(
        interaction_id=row.id,
        source=_SOURCE,
        occurred_at=_time(line, row),
        conversation_id=row.episode_id,
        messages=messages(row.input.system, row.input.messages),
        response=said,
        # Feedback on an episode is about an answer that a user has read, not about a call of tools.
        aliases=() if said.tool_calls else (row.episode_id,),
        model=f"{row.function_name}@{row.variant_name}",
        user_key=pseudonym(line.secret, tags[_USER]) if tags.get(_USER) else None,
        sampling=sampling(drawn.temperature, drawn.top_p, drawn.max_tokens, drawn.seed),
        verifiers=_verifiers(row.output_schema),
    )


def _model_inference(line: Line, row: _ModelInference) -> Iterator[Interaction]:
    if row.output:
        yield Interaction(
            interaction_id=row.inference_id,
            # An inference may have several of these rows, and one source knows an id only once.
            source=f"{_SOURCE}/{row.id}",
            occurred_at=_time(line, row),
            conversation_id=row.inference_id,
            messages=messages(row.system, row.input_messages),
            response=answer(row.output),
            model=f"{row.model_name}@tensorzero",
        )


def _metric(line: Line, row: _Metric) -> Iterator[Feedback]:
    if row.metric_name.startswith(_EVALUATION):
        return
    if isinstance(row.value, bool):
        kind, value = FeedbackKind.THUMB, 1.0 if row.value else -1.0
    else:
        kind, value = FeedbackKind.RATING, row.value
    yield _feedback(line, row, row.target_id, kind, value=value, metric=row.metric_name)


def _feedback(
    line: Line,
    row: _Row,
    about: str,
    kind: FeedbackKind,
    *,
    value: float | None = None,
    text: str | None = None,
    metric: str | None = None,
) -> Feedback:
    return Feedback(
        feedback_id=row.id,
        source=_SOURCE,
        occurred_at=_time(line, row),
        interaction_id=about,
        kind=kind,
        value=value,
        text=text,
        metadata={"metric_name": metric} if metric else {},
    )


def _time(line: Line, row: _Row) -> datetime:
    if row.timestamp is not None:
        return row.timestamp
    try:
        minted = UUID(row.id)
    except ValueError:
        return line.occurred_at
    # RFC 9562: the first 48 bits of a UUIDv7 are milliseconds since 1970.
    return _EPOCH + timedelta(milliseconds=minted.int >> 80) if minted.version == 7 else line.occurred_at


def _verifiers(schema: JsonValue) -> tuple[Verifier, ...]:
    return (Verifier(VerifierKind.JSON_SCHEMA, as_text(schema)),) if schema not in (None, "{}") else ()
