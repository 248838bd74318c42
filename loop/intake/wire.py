"""The JSON shapes of events on the wire, each a msgspec Struct.

Readers are tolerant (unknown fields are ignored, optional ones may be missing or null) and check the shape alone; what
an event means is for curation. Bounds on size, ids and characters are those every log and database can hold.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, DecodeError, Meta, Struct, UnsetType, ValidationError
from msgspec import json as msgjson

from loop.errors import EventError
from loop.types import FeedbackKind, Role, Verifier

SCHEMA_VERSION = 1
MAX_EVENT_BYTES = 1 << 20
MAX_LETTER_BYTES = 1 << 19
"""Longest payload of a dead letter that fits into an event: as base64 it grows by a third."""
MAX_REASON_CHARS = 500
MAX_NAME_CHARS = 256
LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""Bounds of whole numbers: 64 bits with a sign."""
MAX_LEVELS = 200
"""Deepest nesting of metadata, whose shape is up to the application."""
REMEDY = "compare it with the JSON Schema of the wire contract"

# An odd number of backslashes before `u0000`: with an even one the text only talks of a NUL, its backslash is escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_PLACED = re.compile(r"(?P<fault>.*) - at `\$\.?(?P<place>[^`]*)`", re.DOTALL)

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME_CHARS)]
Int64 = Annotated[int, Meta(ge=LOWEST, le=HIGHEST)]
Time = Annotated[datetime, Meta(tz=True)]


# The published schema also has the docstrings of the Structs below: they are part of the contract.
def _doc(text: str) -> Meta:
    """Description of a field in the published JSON Schema."""
    return Meta(description=text)


def to_utc(value: datetime) -> datetime:
    """The time in UTC. Raises ValueError when its year there is not between 1 and 9999."""
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside the years 1 to 9999 of UTC") from error


def _require_shallow(metadata: dict[str, Any]) -> None:
    """Raises ValueError for metadata nested so deep that recursive readers would fail on it."""
    # Level by level: a recursive check would fail on the very metadata that it is to refuse.
    level: list[Any] = [metadata]
    for _ in range(MAX_LEVELS):
        inner = [each.values() if isinstance(each, dict) else each for each in level]
        level = [value for values in inner for value in values if isinstance(value, dict | list)]
        if not level:
            return
    raise ValueError(f"metadata is nested deeper than {MAX_LEVELS} levels")


class ChatFunction(Struct):
    """The function a tool call names, with its arguments as JSON text."""

    name: str
    arguments: str


class ChatToolCall(Struct):
    """A tool call as OpenAI's chat API writes it."""

    id: str
    function: ChatFunction
    type: Literal["function"] = "function"


class ChatText(Struct):
    """A text part of a message."""

    type: Literal["text"]
    text: str


class ChatContent(Struct, kw_only=True):
    """Content of a message: its text, or its text parts."""

    content: str | list[ChatText] | None = None
    tool_calls: list[ChatToolCall] | None = None
    tool_call_id: Annotated[str | None, _doc("For role `tool`: the call this message answers.")] = None


class ChatMessage(ChatContent, kw_only=True):
    """A message as OpenAI's chat API writes it."""

    role: Literal[Role, "developer"]


class ChatAnswer(ChatContent, kw_only=True):
    """The message a model answered with."""

    role: Literal["assistant"]


class WireSampling(Struct):
    """Sampling settings with which the answer was drawn."""

    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    max_tokens: Int64 | UnsetType = UNSET
    seed: Int64 | UnsetType | None = UNSET


class WireData(Struct, kw_only=True):
    """Fields that interactions and feedback share."""

    user_key: Annotated[Name | None, _doc("Pseudonym of the user, never the raw id.")] = None
    tenant: Name | None = None
    metadata: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for metadata nested deeper than MAX_LEVELS."""
        if self.metadata:
            _require_shallow(self.metadata)


class WireInteraction(WireData, kw_only=True):
    """One request with its answer."""

    conversation_id: Name
    messages: Annotated[
        list[ChatMessage], Meta(min_length=1), _doc("All messages that the model was shown, oldest first.")
    ]
    response: ChatAnswer
    model: Annotated[Name, _doc("The served model as `name@version`.")]
    parent_id: Annotated[Name | None, _doc("The interaction this one follows in its conversation.")] = None
    aliases: Annotated[
        list[Name] | None,
        _doc("Other names for feedback to use; of several interactions the last before the feedback is meant."),
    ] = None
    sampling: WireSampling | None = None
    token_logprobs: Annotated[
        list[float] | None,
        _doc("Log-probability of each response token under the served model, in nats."),
    ] = None
    verifiers: list[Verifier] | None = None


class WireFeedback(WireData, kw_only=True):
    """Feedback on an interaction, by a user or by an automatic check."""

    interaction_id: Name
    kind: FeedbackKind
    value: Annotated[
        float | None,
        _doc("Thumb and comparison: +1 or -1; rating: any scale; outcome: 0 to 1; implicit: -1 to +1."),
    ] = None
    text: Annotated[str | None, _doc("Edit and demonstration: the better answer; comment: the comment.")] = None
    other_interaction_id: Annotated[
        Name | None, _doc("Comparison: the interaction compared with; value +1 says `interaction_id` was better.")
    ] = None
    whole_conversation: Annotated[
        bool | None,
        _doc("Whether an outcome is of every assistant turn of the conversation, not of the last answer alone."),
    ] = None
    revises: Annotated[Name | None, _doc("Id of the feedback that this one replaces.")] = None
    retracted: Annotated[bool | None, _doc("Whether the feedback is taken back; then no value or text is needed.")] = (
        None
    )

    def __post_init__(self) -> None:
        """Raises ValueError when the value or text that its kind needs is missing."""
        super().__post_init__()
        if not self.retracted and (missing := self._missing()):
            raise ValueError(f"feedback of kind {self.kind} needs {missing}")

    def _missing(self) -> str | None:
        match self.kind:
            case FeedbackKind.THUMB:
                return self._missing_sign()
            case FeedbackKind.RATING | FeedbackKind.OUTCOME:
                return "a value" if self.value is None else None
            case FeedbackKind.EDIT | FeedbackKind.DEMONSTRATION:
                return "a text" if self.text is None else None
            case FeedbackKind.COMPARISON:
                other = "an other_interaction_id" if self.other_interaction_id is None else None
                return self._missing_sign() or other
            # Curation counts a signal without a value; nothing is made of a comment, and a second try has no fields.
            case FeedbackKind.IMPLICIT | FeedbackKind.COMMENT | FeedbackKind.REGENERATE:
                return None

    def _missing_sign(self) -> str | None:
        return "a value of +1 or -1" if self.value not in {1.0, -1.0} else None


class WireLetter(Struct):
    """Bytes that could not be parsed where they were read."""

    position: Annotated[Int64, _doc("Line or element number (from 1) in the imported file.")]
    reason: str
    payload: bytes


class WireEvent(Struct, tag_field="type", kw_only=True):
    """The CloudEvents attributes common to all types; (source, id) is the idempotency key."""

    specversion: str = "1.0"
    id: Name
    source: Name
    schema_version: Annotated[
        Int64,
        _doc("Version of the shape. Additive changes keep it; newer events are read where their shape allows."),
    ] = SCHEMA_VERSION


class TimedEvent(WireEvent, kw_only=True):
    """An event that happened at a time, which becomes UTC."""

    time: Time

    def __post_init__(self) -> None:
        """Raises ValueError for a time whose year in UTC is not between 1 and 9999."""
        self.time = to_utc(self.time)


class InteractionEvent(TimedEvent, tag="nightshift.interaction", kw_only=True):
    """An interaction on the wire."""

    data: WireInteraction


class FeedbackEvent(TimedEvent, tag="nightshift.feedback", kw_only=True):
    """Feedback on the wire."""

    data: WireFeedback


class UndecodableEvent(WireEvent, tag="nightshift.undecodable", kw_only=True):
    """A dead letter on the wire: an import found it, capture stores it."""

    data: WireLetter


AnyEvent = InteractionEvent | FeedbackEvent | UndecodableEvent
_DECODER: msgjson.Decoder[AnyEvent] = msgjson.Decoder(AnyEvent)


def read_event(payload: bytes) -> AnyEvent:
    """The event in `payload`. Raises EventError when it is too large, not JSON, not storable or of another shape."""
    require_storable(payload)
    try:
        return _DECODER.decode(payload)
    except ValidationError as error:  # a kind of DecodeError, so it comes before that one
        raise EventError(placed(error), REMEDY) from error
    except RecursionError as error:
        raise EventError("it is JSON nested without end", REMEDY) from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise EventError(f"it is not JSON: {str(error).removeprefix('JSON is malformed: ')}", REMEDY) from error


def require_storable(payload: bytes) -> None:
    """Raises EventError for a payload that is too large or has a character that databases cannot hold."""
    if len(payload) > MAX_EVENT_BYTES:
        raise EventError(f"it is larger than the {MAX_EVENT_BYTES} bytes an event may have", REMEDY)
    if b"\\" in payload and b"\\u0000" in payload and _NUL.search(payload):  # one byte is looked for the fastest
        raise EventError("the text has a NUL character, which databases cannot hold", REMEDY)


def placed(error: ValidationError) -> str:
    """Message of a validation error, preceded by the place of the fault; at most MAX_REASON_CHARS long."""
    text = str(error)
    found = _PLACED.fullmatch(text)
    return (f"{found['place']}: {found['fault']}" if found and found["place"] else text)[:MAX_REASON_CHARS]
