"""The shapes of the wire, below events: what an event or a foreign log line may look like, as JSON.

Readers are tolerant (unknown fields are ignored, optional ones may be missing or null) and judge shape alone; what an
event means is for curation. Bounds on size, ids and characters are those every log and database can hold.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, NotRequired, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

from loop.errors import EventError
from loop.types import FeedbackKind, Role, VerifierKind

SCHEMA_VERSION = 1
MAX_EVENT_BYTES = 1 << 20
MAX_LETTER_BYTES = 1 << 19
"""Of what could not be parsed, so much fits into an event: it travels as base64."""

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_REMEDY = "compare it with the JSON Schema of the wire contract"
MAX_REASON_CHARS = 500

T = TypeVar("T")


def _rfc3339(value: object) -> str:
    if not isinstance(value, str) or "-" not in value[1:5]:
        raise ValueError("a time is an RFC 3339 date and time with an offset")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999 of UTC") from error


def _finite(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if value:
        json.dumps(value, allow_nan=False)
    return value


LenientTime = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_utc)]
"""RFC 3339 text or Unix seconds, as foreign logs have it."""
Time = Annotated[LenientTime, BeforeValidator(_rfc3339)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Metadata = Annotated[dict[str, JsonValue], AfterValidator(_finite)]


Item = TypeVar("Item")
Many = Annotated[list[Item], Field(fail_fast=True)]
"""A list that is refused at its first fault: every further one would be told too, at a kilobyte each."""


STRICT = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)
"""No coercion of types, unknown fields ignored, only finite numbers."""


class Wire(BaseModel):
    """Base of what is read from foreign logs."""

    model_config = STRICT


@with_config(STRICT)
class Shape(TypedDict):
    """Base of what is read by the million: a dictionary of the fields that were there, in half the time of a model."""


class ChatFunction(Shape):
    """The function a tool call names, with its arguments as JSON text."""

    name: str
    arguments: str


class ChatToolCall(Shape):
    """A tool call as OpenAI's chat API writes it."""

    id: str
    type: NotRequired[Literal["function"]]
    function: ChatFunction


class ChatText(Shape):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ChatContent(Shape):
    """What a message says; text only."""

    content: NotRequired[str | Many[ChatText] | None]
    tool_calls: NotRequired[Many[ChatToolCall] | None]
    tool_call_id: NotRequired[str | None]
    """For role `tool`: the call this message answers."""


class ChatMessage(ChatContent):
    """A message as OpenAI's chat API writes it."""

    role: Role | Literal["developer"]


class ChatAnswer(ChatContent):
    """The message a model answered with."""

    role: Literal["assistant"]


class WireVerifier(Shape):
    """A check of the answer which the application states."""

    kind: VerifierKind
    target: str


class WireSampling(Shape):
    """How the answer was drawn."""

    temperature: NotRequired[float]
    top_p: NotRequired[float]
    max_tokens: NotRequired[Int64]
    seed: NotRequired[Int64 | None]


class WireInteraction(Shape):
    """One request with its answer."""

    conversation_id: Name
    messages: Annotated[Many[ChatMessage], Field(min_length=1)]
    """Everything the model was shown."""
    response: ChatAnswer
    model: Name
    """The served model as `name@version`."""
    parent_id: NotRequired[Name | None]
    """The interaction this one follows in its conversation."""
    aliases: NotRequired[Many[Name] | None]
    """Other names that feedback may know it by; of several with one the last before the feedback is meant."""
    user_key: NotRequired[Name | None]
    """Pseudonym of the user, never the raw id."""
    tenant: NotRequired[Name | None]
    sampling: NotRequired[WireSampling | None]
    token_logprobs: NotRequired[Many[float] | None]
    """Of each response token under the served model, in nats."""
    verifiers: NotRequired[Many[WireVerifier] | None]
    metadata: NotRequired[Metadata | None]


class WireFeedback(Shape):
    """What somebody, or the world, said of an interaction."""

    interaction_id: Name
    kind: FeedbackKind
    value: NotRequired[float | None]
    """Thumb and comparison: +1 or -1; rating: any scale; outcome: 0 to 1; implicit: -1 to +1."""
    text: NotRequired[str | None]
    """Edit and demonstration: the better answer; comment: the comment."""
    other_interaction_id: NotRequired[Name | None]
    """Comparison: the interaction compared with; value +1 says `interaction_id` was better."""
    whole_conversation: NotRequired[bool | None]
    """An outcome of every assistant turn of the conversation, not of the last answer alone."""
    revises: NotRequired[Name | None]
    """The id of the feedback this one replaces."""
    retracted: NotRequired[bool | None]
    """Takes the feedback back; then no value or text is needed."""
    user_key: NotRequired[Name | None]
    tenant: NotRequired[Name | None]
    metadata: NotRequired[Metadata | None]


def _has_what_its_kind_needs(feedback: WireFeedback) -> WireFeedback:
    if not feedback.get("retracted") and (missing := _missing(feedback)):
        raise ValueError(f"feedback of kind {feedback['kind']} needs {missing}")
    return feedback


def _missing(feedback: WireFeedback) -> str | None:
    match feedback["kind"]:
        case FeedbackKind.EDIT | FeedbackKind.DEMONSTRATION if feedback.get("text") is None:
            return "a text"
        case FeedbackKind.RATING | FeedbackKind.OUTCOME if feedback.get("value") is None:
            return "a value"
        case FeedbackKind.THUMB | FeedbackKind.COMPARISON if feedback.get("value") not in {1.0, -1.0}:
            return "a value of +1 or -1"
        case FeedbackKind.COMPARISON if feedback.get("other_interaction_id") is None:
            return "an other_interaction_id"
    return None


class WireLetter(Shape):
    """Bytes that could not be parsed where they were read."""

    position: Int64
    """Line or element number (from 1) in the imported file."""
    reason: str
    payload: Base64Bytes


class WireEvent(Shape):
    """The CloudEvents attributes common to all types; (source, id) is the idempotency key."""

    specversion: NotRequired[str]
    id: Name
    source: Name
    schema_version: NotRequired[Int64]
    """Additive changes keep the number's meaning: a newer event with a readable shape is read."""


class InteractionEvent(WireEvent):
    """An interaction on the wire."""

    type: Literal["nightshift.interaction"]
    time: Time
    data: WireInteraction


class FeedbackEvent(WireEvent):
    """Feedback on the wire."""

    type: Literal["nightshift.feedback"]
    time: Time
    data: Annotated[WireFeedback, AfterValidator(_has_what_its_kind_needs)]


class UndecodableEvent(WireEvent):
    """A dead letter on the wire: an import found it, capture stores it."""

    type: Literal["nightshift.undecodable"]
    data: WireLetter


AnyEvent = InteractionEvent | FeedbackEvent | UndecodableEvent
WIRE_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(Annotated[AnyEvent, Field(discriminator="type")])


def validate(shape: TypeAdapter[T], payload: bytes) -> T:
    """JSON bytes as `shape`. Raises EventError for what is too large, not JSON, not storable or of another shape."""
    if len(payload) > MAX_EVENT_BYTES:
        raise EventError(f"it is larger than the {MAX_EVENT_BYTES} bytes an event may have", _REMEDY)
    if b"\\u0000" in payload and _NUL.search(payload):
        raise EventError("the text has a NUL character, which databases cannot hold", _REMEDY)
    try:
        return shape.validate_json(payload)
    except ValidationError as error:
        raise EventError(_reason(error), _REMEDY) from error


def _reason(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    where = [
        ".".join(str(part) for part in fault["loc"] if not str(part).startswith("nightshift.")) for fault in faults
    ]
    told = [f"{place}: {fault['msg']}" if place else fault["msg"] for place, fault in zip(where, faults, strict=True)]
    return "; ".join(told).replace("Value error, ", "")[:MAX_REASON_CHARS]
