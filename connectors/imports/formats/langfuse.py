"""Imports of Langfuse: observations, scores or whole traces, from blob storage exports and the public API.

Lines of all kinds may be mixed, in any order and in several files. Every GENERATION with an answer is an interaction.
It is named by its own id, and also by its trace's unless it only calls tools. So a score on a generation finds it, and
a score on a trace finds the last answer in it before the score. A score on another observation or on a session is kept
and finds nothing.

The source of a score decides the kind of feedback. From a person or the application (ANNOTATION, API) BOOLEAN is a
thumb, NUMERIC a rating, CORRECTION an edit; from an evaluator (EVAL) it is implicit, the weakest signal. Categories
that are no verdict, and TEXT, are comments. Rows say neither which scale a number is on nor that lower is better: leave
out metrics that do not fit. A score that was edited after its import keeps its first value. A row of a trace without
its observations gives nothing; legacy observations name no user, so their users are anonymous.
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
    """Both names of a field: exports write snake_case, the API camelCase."""
    words = name.split("_")
    return AliasChoices(name, words[0] + "".join(word.title() for word in words[1:]))


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
    """Subject of the score, which newer versions of the API give instead of the three ids."""


class _Trace(Shape):
    id: Name
    timestamp: UtcTime
    user_id: str | None = Field(None, validation_alias=_both("user_id"))
    session_id: str | None = Field(None, validation_alias=_both("session_id"))
    observations: Many[_Observation | str] | None = None
    scores: Many[_Score | str] | None = None
    """Observations and scores in full, or only their ids."""


def _kind(row: object) -> str | None:
    # A score and a trace both have a `timestamp`, so a trace is what has neither of the other columns.
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
    """An interaction for a generation with an answer, a feedback for a score, and both for the contents of a trace."""
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
        # A score on a trace is about an answer that a user has read, not about a call of tools.
        aliases=(row.trace_id,) if row.trace_id and not said.tool_calls else (),
        model=f"{row.model or 'unknown'}@langfuse",
        user_key=pseudonym(line.secret, user) if user else None,
        sampling=sampling(known.temperature, known.top_p, known.max_tokens or known.max_completion_tokens, known.seed),
        metadata={"name": row.name, "trace_id": row.trace_id},
    )


def _feedback(score: _Score) -> Iterator[Feedback]:
    # A score of an experiment is about a run over a data set, not about an answer that somebody was served.
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
        # Its number only numbers the categories.
        case "CATEGORICAL":
            number = None
        case "NUMERIC" | "BOOLEAN":
            pass
    return _scored(score, number, text)


def _scored(score: _Score, number: float | None, text: str | None) -> Opinion:
    """The opinion of a score that is neither a correction nor a text."""
    if score.source == "EVAL":
        return by_evaluator(score.name, number, text, score.comment)
    if score.data_type == "NUMERIC":
        return FeedbackKind.RATING, number, None
    thumb = _thumb(number, text)
    if thumb is None:
        return FeedbackKind.COMMENT, None, f"{score.name}: {text}"
    return FeedbackKind.THUMB, thumb, None


def _thumb(number: float | None, text: str | None) -> float | None:
    if number is None:
        return verdict(text)
    return 1.0 if number else -1.0
