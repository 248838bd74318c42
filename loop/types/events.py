"""Events: interactions in production, and the feedback on them.

Those that capture makes are frozen for the type checker only (`_streamed`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeVar, dataclass_transform

Role = Literal["system", "user", "assistant", "tool"]
Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Kind = TypeVar("Kind")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def _streamed(*, kw_only: bool = False) -> Callable[[type[Kind]], type[Kind]]:
    """A dataclass that only the type checker keeps frozen: capture makes tens of thousands of these a second.

    A dataclass that is frozen at run time sets every field through `object.__setattr__`: a third of decoding an event.
    """
    # Hashable although not frozen: curation keeps messages in sets and as keys.
    return dataclass(slots=True, unsafe_hash=True, kw_only=kw_only)


@_streamed(kw_only=True)
class ToolCall:
    """One call of a tool inside an assistant message."""

    call_id: str
    name: str
    arguments: str
    """JSON text, kept exactly as the model wrote it."""


@_streamed()
class Message:
    """One turn of a conversation."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    """For role `tool`: the id of the call that this message answers."""


class VerifierKind(StrEnum):
    EXACT = "exact"
    NUMERIC = "numeric"
    REGEX = "regex"
    JSON_SCHEMA = "json_schema"
    MAX_WORDS = "max_words"


# Verifiers are on the wire as they are, so the docstring is in the published JSON Schema.
@dataclass(frozen=True, slots=True)
class Verifier:
    """A check of an answer that the application states itself; no judge is needed."""

    kind: VerifierKind
    target: str
    """The expected text, number, pattern, JSON Schema text or word limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Settings with which an answer was drawn; a temperature of 0 means greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    max_tokens: int = 256
    seed: int | None = None


@_streamed(kw_only=True)
class Interaction:
    """One request with its answer, as production saw it."""

    interaction_id: str
    source: str
    """Emitter of the event; (source, interaction_id) is the idempotency key."""
    occurred_at: datetime
    conversation_id: str
    messages: tuple[Message, ...]
    """All messages that the model was shown, oldest first."""
    response: Message
    model: str
    """The served model as `name@version`."""
    parent_id: str | None = None
    """The interaction that this one follows in its conversation."""
    aliases: tuple[str, ...] = ()
    """Other names by which feedback may know it: its span, trace or episode. Several interactions may share one."""
    user_key: str | None = None
    """Pseudonym of the user (HMAC), never the raw id; None when nobody was signed in."""
    tenant: str = "default"
    sampling: Sampling | None = None
    token_logprobs: tuple[float, ...] | None = None
    """Raw log-probability of each response token under the served model, in nats."""
    verifiers: tuple[Verifier, ...] = ()
    metadata: Mapping[str, Json] = field(default_factory=dict)


# Values of these enums are on the wire, in the databases and in hashed content: they keep their text for ever.
class FeedbackKind(StrEnum):
    THUMB = "thumb"
    RATING = "rating"
    EDIT = "edit"
    REGENERATE = "regenerate"
    COMPARISON = "comparison"
    COMMENT = "comment"
    OUTCOME = "outcome"
    DEMONSTRATION = "demonstration"
    IMPLICIT = "implicit"


@_streamed(kw_only=True)
class Feedback:
    """Opinion of a user, or of the world, on an interaction."""

    feedback_id: str
    source: str
    """Emitter of the event; (source, feedback_id) is the idempotency key."""
    occurred_at: datetime
    interaction_id: str
    kind: FeedbackKind
    value: float | None = None
    """Thumb and comparison: +1 or -1; rating: any scale; outcome: 0 to 1; implicit: -1 to +1."""
    text: str | None = None
    """Edit and demonstration: the better answer; comment: the comment."""
    other_interaction_id: str | None = None
    """Comparison: the second interaction; a value of +1 says that `interaction_id` was better."""
    whole_conversation: bool = False
    """Whether an outcome is of every assistant turn of the conversation, not of the last answer alone."""
    revises: str | None = None
    """The feedback_id of the feedback that this one replaces."""
    retracted: bool = False
    """Whether the feedback in this slot is taken back; the latest by (occurred_at, feedback_id) wins."""
    user_key: str | None = None
    tenant: str = "default"
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """Bytes that could not be parsed, kept whole with their place and the reason of the refusal."""

    letter_id: str
    source: str
    """`topic/partition` of the event log, or the imported file."""
    position: int
    """Offset in the log, or line number (from 1) in the file."""
    reason: str
    payload: bytes
    replayed_at: datetime | None = None
    """Time at which it was sent through the event log again."""


Event = Interaction | Feedback | DeadLetter
