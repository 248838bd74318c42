"""The wire contract, first step of the data: versioned JSON events to types and back; no other module parses events."""

import base64
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime

import msgspec

from loop.errors import EventError
from loop.hashing import sha256_of
from loop.intake.wire import (
    MAX_EVENT_BYTES,
    MAX_LETTER_BYTES,
    MAX_REASON_CHARS,
    SCHEMA_VERSION,
    AnyEvent,
    ChatAnswer,
    ChatMessage,
    ChatToolCall,
    FeedbackEvent,
    InteractionEvent,
    UndecodableEvent,
    WireSampling,
    read_event,
)
from loop.ports import Envelope
from loop.types import DeadLetter, Event, Feedback, Interaction, Json, Message, Role, Sampling, ToolCall


def encode(event: Event) -> Envelope:
    """`event` as canonical JSON (sorted keys, compact) with the key that keeps related events in order.

    The key is the conversation of an interaction and the interaction of a feedback. Raises EventError for whatever
    `decode` would refuse.
    """
    match event:
        case Interaction():
            key, document = event.conversation_id, _interaction_document(event)
        case Feedback():
            key, document = event.interaction_id, _feedback_document(event)
        case DeadLetter():
            key, document = event.letter_id, _letter_document(event)
    payload = _utf8_json(document)
    # The reader's own check: a producer is told here what capture would only put among the dead letters.
    read_event(payload)
    return Envelope(key, payload)


def decode(payload: bytes) -> Event:
    """The event in `payload`. Raises EventError, whose `what` is the reason, when it does not follow the contract."""
    try:
        wire = read_event(payload)
    except EventError as error:
        # A newer event is refused only now: additive changes keep the number's meaning, so most of them can be read.
        if (version := _declared_version(payload)) <= SCHEMA_VERSION:
            raise
        reason = f"schema_version {version} is newer than {SCHEMA_VERSION} and cannot be read: {error.what}"
        raise EventError(reason[:MAX_REASON_CHARS], "upgrade Nightshift, then import the dead letter again") from error
    return _event(wire)


def dead_letter(source: str, position: int, reason: str, payload: bytes) -> DeadLetter:
    """A dead letter whose id is the sha256 of its place and its bytes, so that reading it twice keeps one."""
    letter_id = sha256_of(f"{source}\0{position}\0", payload)
    return DeadLetter(letter_id=letter_id, source=source, position=position, reason=reason, payload=payload)


def fitting(letter: DeadLetter) -> DeadLetter:
    """`letter` cut to the size of an event: of a long payload only the beginning is kept, and the reason says so."""
    reason = letter.reason[:MAX_REASON_CHARS]
    if len(letter.payload) > MAX_LETTER_BYTES:
        reason += f" (only the first {MAX_LETTER_BYTES} of {len(letter.payload)} bytes are kept)"
    return replace(letter, reason=reason, payload=letter.payload[:MAX_LETTER_BYTES])


def pseudonym(secret: str, user: str) -> str:
    """The user key of a raw user id: HMAC-SHA256 under `secret`, 32 hex digits."""
    return hmac.digest(secret.encode(), user.encode(), "sha256").hex()[:32]


def json_schema() -> dict[str, Json]:
    """JSON Schema (draft 2020-12) of one event on the wire."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Nightshift event",
        "description": f"Version {SCHEMA_VERSION}, at most {MAX_EVENT_BYTES} bytes of UTF-8.",
        **msgspec.json.schema(AnyEvent),
    }


def _interaction_document(event: Interaction) -> dict[str, object]:
    data = {
        "conversation_id": event.conversation_id,
        "messages": [_chat(turn) for turn in event.messages],
        "response": _chat(event.response),
        "model": event.model,
        "parent_id": event.parent_id,
        "aliases": list(event.aliases) or None,
        "user_key": event.user_key,
        "tenant": event.tenant,
        "sampling": asdict(event.sampling) if event.sampling else None,
        "token_logprobs": event.token_logprobs,
        "verifiers": [asdict(verifier) for verifier in event.verifiers],
        "metadata": dict(event.metadata),  # a mapping of any other type has no JSON form
    }
    return _document("interaction", event.interaction_id, event.source, data) | {"time": _time(event.occurred_at)}


def _feedback_document(event: Feedback) -> dict[str, object]:
    data = {
        "interaction_id": event.interaction_id,
        "kind": event.kind,
        "value": event.value,
        "text": event.text,
        "other_interaction_id": event.other_interaction_id,
        "whole_conversation": event.whole_conversation,
        "revises": event.revises,
        "retracted": event.retracted,
        "user_key": event.user_key,
        "tenant": event.tenant,
        "metadata": dict(event.metadata),
    }
    return _document("feedback", event.feedback_id, event.source, data) | {"time": _time(event.occurred_at)}


def _letter_document(event: DeadLetter) -> dict[str, object]:
    payload = base64.b64encode(event.payload).decode()  # bytes that did not parse need not be text
    data = {"position": event.position, "reason": event.reason, "payload": payload}
    return _document("undecodable", event.letter_id, event.source, data)


def _document(kind: str, event_id: str, source: str, data: Mapping[str, object]) -> dict[str, object]:
    return {
        "specversion": "1.0",
        "type": f"nightshift.{kind}",
        "id": event_id,
        "source": source,
        "schema_version": SCHEMA_VERSION,
        # Null and missing mean the same to the reader; one of them alone makes the encoding canonical.
        "data": {name: value for name, value in data.items() if value is not None},
    }


def _chat(turn: Message) -> dict[str, object]:
    calls = [
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in turn.tool_calls
    ]
    optional = {"tool_calls": calls or None, "tool_call_id": turn.tool_call_id}
    return {"role": turn.role, "content": turn.content} | {name: value for name, value in optional.items() if value}


def _time(at: datetime) -> str:
    if at.utcoffset() is None:
        raise EventError(
            f"the time {at.isoformat()} has no timezone", "give every time a timezone, e.g. datetime.now(UTC)"
        )
    return at.astimezone(UTC).isoformat()


def _utf8_json(document: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise EventError(
            f"the event cannot be written as JSON: {error}", "send finite numbers and valid Unicode"
        ) from error


def _declared_version(payload: bytes) -> int:
    try:
        # A payload too large to be parsed is cut, which makes it invalid: its version then counts as ours.
        version = msgspec.json.decode(payload[:MAX_EVENT_BYTES])["schema_version"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return SCHEMA_VERSION
    return version if isinstance(version, int) else SCHEMA_VERSION


def message(chat: ChatMessage | ChatAnswer) -> Message:
    """A chat message as a Message: text parts joined, missing content as empty text, `developer` as `system`."""
    content = chat.content or ""
    text = content if isinstance(content, str) else "".join([part.text for part in content])
    role: Role = "system" if chat.role == "developer" else chat.role
    return Message(role, text, tuple(map(_call, chat.tool_calls)) if chat.tool_calls else (), chat.tool_call_id)


def _call(call: ChatToolCall) -> ToolCall:
    return ToolCall(call_id=call.id, name=call.function.name, arguments=call.function.arguments)


def _event(wire: AnyEvent) -> Event:
    match wire:
        case InteractionEvent():
            return _interaction(wire)
        case FeedbackEvent():
            return _feedback(wire)
        case UndecodableEvent():
            return DeadLetter(letter_id=wire.id, source=wire.source, **msgspec.structs.asdict(wire.data))


def _interaction(wire: InteractionEvent) -> Interaction:
    data = wire.data
    return Interaction(
        interaction_id=wire.id,
        source=wire.source,
        occurred_at=wire.time,
        conversation_id=data.conversation_id,
        messages=tuple(map(message, data.messages)),
        response=message(data.response),
        model=data.model,
        parent_id=data.parent_id,
        aliases=tuple(data.aliases or ()),
        user_key=data.user_key,
        tenant=data.tenant or "default",
        sampling=_sampling(data.sampling) if data.sampling else None,
        token_logprobs=None if data.token_logprobs is None else tuple(data.token_logprobs),
        verifiers=tuple(data.verifiers or ()),
        metadata=data.metadata or {},
    )


def _sampling(wire: WireSampling) -> Sampling | None:
    """Sampling settings of an event; None when it names none of them."""
    said = {name: value for name, value in msgspec.structs.asdict(wire).items() if value is not msgspec.UNSET}
    return Sampling(**said) if said else None


def _feedback(wire: FeedbackEvent) -> Feedback:
    data = wire.data
    return Feedback(
        feedback_id=wire.id,
        source=wire.source,
        occurred_at=wire.time,
        interaction_id=data.interaction_id,
        kind=data.kind,
        value=data.value,
        text=data.text,
        other_interaction_id=data.other_interaction_id,
        whole_conversation=data.whole_conversation or False,
        revises=data.revises,
        retracted=data.retracted or False,
        user_key=data.user_key,
        tenant=data.tenant or "default",
        metadata=data.metadata or {},
    )
