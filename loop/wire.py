"""The shapes of the wire, below events: what an event or a foreign log line may look like, as JSON.

Readers are tolerant (unknown fields are ignored, optional ones may be missing or null) and judge shape alone; what an
event means is for curation. Bounds on size, ids and characters are those every log and database can hold.
"""

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Literal, TypeVar

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
    model_validator,
)

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


class Wire(BaseModel):
    """Base of everything read from outside: no coercion of types, unknown fields ignored, only finite numbers."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, use_attribute_docstrings=True)


class ChatFunction(Wire):
    """The function a tool call names, with its arguments as JSON text."""

    name: str
    arguments: str


class ChatToolCall(Wire):
    """A tool call as OpenAI's chat API writes it."""

    id: str
    type: Literal["function"] = "function"
    function: ChatFunction


class ChatText(Wire):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ChatMessage(Wire):
    """A message as OpenAI's chat API writes it; text only."""

    role: Role | Literal["developer"]
    content: str | Many[ChatText] | None = None
    tool_calls: Many[ChatToolCall] | None = None
    tool_call_id: str | None = None
    """For role `tool`: the call this message answers."""


class ChatAnswer(ChatMessage):
    """The message a model answered with."""

    role: Literal["assistant"]


class WireVerifier(Wire):
    """A check of the answer which the application states."""

    kind: VerifierKind
    target: str


class WireSampling(Wire):
    """How the answer was drawn."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: Int64 = 256
    seed: Int64 | None = None


class WireInteraction(Wire):
    """One request with its answer."""

    conversation_id: Name
    messages: Many[ChatMessage] = Field(min_length=1)
    """Everything the model was shown."""
    response: ChatAnswer
    model: Name
    """The served model as `name@version`."""
    parent_id: Name | None = None
    """The interaction this one follows in its conversation."""
    aliases: Many[Name] | None = None
    """Other names that feedback may know it by; of several with one the last before the feedback is meant."""
    user_key: Name | None = None
    """Pseudonym of the user, never the raw id."""
    tenant: Name | None = None
    sampling: WireSampling | None = None
    token_logprobs: Many[float] | None = None
    """Of each response token under the served model, in nats."""
    verifiers: Many[WireVerifier] | None = None
    metadata: Metadata | None = None


class WireFeedback(Wire):
    """What somebody, or the world, said of an interaction."""

    interaction_id: Name
    kind: FeedbackKind
    value: float | None = None
    """Thumb and comparison: +1 or -1; rating: any scale; outcome: 0 to 1; implicit: -1 to +1."""
    text: str | None = None
    """Edit and demonstration: the better answer; comment: the comment."""
    other_interaction_id: Name | None = None
    """Comparison: the interaction compared with; value +1 says `interaction_id` was better."""
    whole_conversation: bool | None = None
    """An outcome of every assistant turn of the conversation, not of the last answer alone."""
    revises: Name | None = None
    """The id of the feedback this one replaces."""
    retracted: bool | None = None
    """Takes the feedback back; then no value or text is needed."""
    user_key: Name | None = None
    tenant: Name | None = None
    metadata: Metadata | None = None

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> "WireFeedback":
        if not self.retracted and (missing := _missing(self)):
            raise ValueError(f"feedback of kind {self.kind} needs {missing}")
        return self


def _missing(feedback: WireFeedback) -> str | None:
    match feedback.kind:
        case FeedbackKind.EDIT | FeedbackKind.DEMONSTRATION if feedback.text is None:
            return "a text"
        case FeedbackKind.RATING | FeedbackKind.OUTCOME if feedback.value is None:
            return "a value"
        case FeedbackKind.THUMB | FeedbackKind.COMPARISON if feedback.value not in {1.0, -1.0}:
            return "a value of +1 or -1"
        case FeedbackKind.COMPARISON if feedback.other_interaction_id is None:
            return "an other_interaction_id"
    return None


class WireLetter(Wire):
    """Bytes that could not be parsed where they were read."""

    position: Int64
    """Line or element number (from 1) in the imported file."""
    reason: str
    payload: Base64Bytes


class WireEvent(Wire):
    """The CloudEvents attributes common to all types; (source, id) is the idempotency key."""

    specversion: str = "1.0"
    id: Name
    source: Name
    schema_version: Int64 = SCHEMA_VERSION
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
    data: WireFeedback


class UndecodableEvent(WireEvent):
    """A dead letter on the wire: an import found it, capture stores it."""

    type: Literal["nightshift.undecodable"]
    data: WireLetter


WIRE_EVENT: TypeAdapter[InteractionEvent | FeedbackEvent | UndecodableEvent] = TypeAdapter(
    Annotated[InteractionEvent | FeedbackEvent | UndecodableEvent, Field(discriminator="type")]
)


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
