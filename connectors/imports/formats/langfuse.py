"""Imports Langfuse: rows of observations and scores, or whole traces, from blob storage exports and the public API.

Lines of all kinds may be mixed, in any order and in several files. Every GENERATION with an answer is an interaction,
called by its own id, and by its trace's unless it only calls tools. So a score on a generation reaches it, a score on
a trace the last answer in it before the score. A score on another observation or on a session is kept and reaches
nothing.

Who speaks decides the kind. A person or the application (ANNOTATION, API): BOOLEAN is a thumb, NUMERIC a rating,
CORRECTION an edit. An evaluator (EVAL): implicit, the weakest signal. Categories that are no verdict, and TEXT, are
comments. Rows do not say which scale a number is on nor that lower is better: leave out metrics that do not fit.
A score edited after its import keeps its first value. Rows of traces alone say nothing; legacy observations name no
user, so that their users are anonymous.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AliasChoices, Discriminator, Field, JsonValue, Tag, TypeAdapter

from connectors.imports.reading.fields import Number, UtcTime, Whole, sampling
from connectors.imports.reading.lines import Line
from connectors.imports.reading.opinions import Opinion, by_evaluator, verdict
from connectors.imports.reading.payloads import answer, parsed, prompt
from connectors.imports.reading.shapes import Many, Name, Shape, validate
from loop.errors import EventError
from loop.intake.events import pseudonym
from loop.types import Event, Feedback, FeedbackKind, Interaction

_SOURCE = "import/langfuse"


def _both(name: str) -> AliasChoices:
    """Exports write snake_case, the API camelCase."""
    first, *rest = name.split("_")
    return AliasChoices(name, first + "".join(part.title() for part in rest))


class _Parameters(Shape):
    temperature: Number = None
    top_p: Number = None
    max_tokens: Whole = None
    max_completion_tokens: Whole = None
    seed: Whole = None


class _Observation(Shape):
    id: Name
    type: str
    name: str | None = None
    trace_id: str | None = Field(None, validation_alias=_both("trace_id"))
    start_time: UtcTime = Field(validation_alias=_both("start_time"))
    user_id: str | None = Field(None, validation_alias=_both("user_id"))
    session_id: str | None = Field(None, validation_alias=_both("session_id"))
    model: str | None = Field(None, validation_alias=AliasChoices("provided_model_name", "providedModelName", "model"))
    parameters: JsonValue = Field(None, validation_alias=_both("model_parameters"))
    input: JsonValue = None
    output: JsonValue = None


class _Subject(Shape):
    kind: str
    id: str


class _Score(Shape):
    id: Name
    name: str
    data_type: Literal["NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION"] = Field(
        validation_alias=_both("data_type")
    )
    value: bool | float | str | None = None
    string_value: str | None = Field(None, validation_alias=_both("string_value"))
    source: str | None = None
    comment: str | None = None
    timestamp: UtcTime
    observation_id: str | None = Field(None, validation_alias=_both("observation_id"))
    trace_id: str | None = Field(None, validation_alias=_both("trace_id"))
    session_id: str | None = Field(None, validation_alias=_both("session_id"))
    subject: _Subject | None = None
    """What newer versions of the API have instead of the three ids."""


class _Trace(Shape):
    id: Name
    timestamp: UtcTime
    user_id: str | None = Field(None, validation_alias=_both("user_id"))
    session_id: str | None = Field(None, validation_alias=_both("session_id"))
    observations: Many[_Observation | str] | None = None
    scores: Many[_Score | str] | None = None
    """In full, or their ids."""


def _kind(row: object) -> str | None:
    keys = row.keys() if isinstance(row, dict) else frozenset[str]()
    if keys & {"data_type", "dataType"}:
        return "score"
    if keys & {"start_time", "startTime"}:
        return "observation"
    return "trace" if "timestamp" in keys else None


_ROW: TypeAdapter[_Observation | _Score | _Trace] = TypeAdapter(
    Annotated[
        Annotated[_Observation, Tag("observation")] | Annotated[_Score, Tag("score")] | Annotated[_Trace, Tag("trace")],
        Discriminator(
            _kind,
            custom_error_type="row",
            custom_error_message="the line is neither an observation nor a score nor a trace",
        ),
    ]
)


def decode(line: Line) -> Iterator[Event]:
    """An interaction for a generation with an answer, a feedback for a score, both for what a trace holds."""
    row = validate(_ROW, line.raw)
    match row:
        case _Observation():
            yield from _interactions(line, row, row.user_id, row.session_id)
        case _Score():
            yield from _feedback(row)
        case _Trace():
            for inside in row.observations or ():
                if isinstance(inside, _Observation):
                    yield from _interactions(
                        line, inside, inside.user_id or row.user_id, inside.session_id or row.session_id
                    )
            for score in row.scores or ():
                if isinstance(score, _Score):
                    yield from _feedback(score)


def _interactions(line: Line, row: _Observation, user: str | None, session: str | None) -> Iterator[Interaction]:
    if row.type != "GENERATION" or row.output in (None, ""):
        return
    parameters = parsed(row.parameters)
    known = _Parameters.model_validate(parameters if isinstance(parameters, dict) else {})
    said = answer(row.output)
    yield Interaction(
        interaction_id=row.id,
        source=_SOURCE,
        occurred_at=row.start_time,
        conversation_id=session or row.trace_id or row.id,
        messages=prompt(row.input),
        response=said,
        aliases=(row.trace_id,) if row.trace_id and not said.tool_calls else (),
        model=f"{row.model or 'unknown'}@langfuse",
        user_key=pseudonym(line.secret, user) if user else None,
        sampling=sampling(known.temperature, known.top_p, known.max_tokens or known.max_completion_tokens, known.seed),
        metadata={"name": row.name, "trace_id": row.trace_id},
    )


def _feedback(score: _Score) -> Iterator[Feedback]:
    subject = score.subject.id if score.subject and score.subject.kind != "experiment" else None
    about = score.observation_id or score.trace_id or score.session_id or subject
    if not about:
        return
    kind, value, text = _opinion(score)
    yield Feedback(
        feedback_id=score.id,
        source=_SOURCE,
        occurred_at=score.timestamp,
        interaction_id=about,
        kind=kind,
        value=value,
        text=text,
        metadata={"name": score.name, "source": score.source, "comment": score.comment},
    )


def _opinion(score: _Score) -> Opinion:
    number = float(score.value) if isinstance(score.value, bool | float) else None
    text = score.string_value or (score.value if isinstance(score.value, str) else None)
    if score.data_type in {"NUMERIC", "BOOLEAN"} and number is None:
        raise EventError("a numeric or boolean score has no number as its value", "leave the score out of the file")
    match score.data_type:
        case "CORRECTION":
            return FeedbackKind.EDIT, None, text
        case "TEXT":
            return FeedbackKind.COMMENT, None, text
        case "CATEGORICAL":
            number = None
    if score.source == "EVAL":
        return by_evaluator(score.name, number, text, score.comment)
    if score.data_type == "NUMERIC":
        return FeedbackKind.RATING, number, None
    thumb = verdict(text) if number is None else 1.0 if number else -1.0
    return (FeedbackKind.COMMENT, None, f"{score.name}: {text}") if thumb is None else (FeedbackKind.THUMB, thumb, None)
