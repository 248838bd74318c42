"""The nouns of Nightshift, in the order of the data: frozen dataclasses on the standard library alone.

Those that capture makes are frozen for the type checker only (`_streamed`). Ids are `<noun>_id`, times `<verb>_at` and
always timezone-aware UTC. A field's meaning stands under the field.
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
    """A check of an answer which the application itself can state, without a judge."""

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


class Objective(StrEnum):
    PAIR = "pair"
    UNPAIRED = "unpaired"
    DEMONSTRATION = "demonstration"


class Split(StrEnum):
    TRAIN = "train"
    DEV = "dev"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class Branch:
    """One answer below an example's prompt."""

    response: Message
    desirable: bool
    weight: float = 1.0


# Its id is a digest of all fields: another field would give every example, and so every snapshot, another id.
@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An example that curation made from feedback: a prompt, weighted branches and an objective.

    PAIR has the desirable branch first and the undesirable one second; UNPAIRED and DEMONSTRATION have one branch.
    """

    example_id: str
    """sha256 of the content, so equal examples have equal ids."""
    objective: Objective
    signal: FeedbackKind
    prompt: tuple[Message, ...]
    branches: tuple[Branch, ...]
    split: Split
    cluster: str
    """The voice that is counted once: the user, or the conversation of an anonymous one."""
    tenant: str
    conversation_id: str
    observed_at: datetime
    """Time of the newest feedback in it."""
    event_ids: tuple[str, ...]
    """Ids of all interactions and feedback that it was made from, sorted."""
    verifiers: tuple[Verifier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable, content-hashed dataset: `<home>/snapshots/<snapshot_id>/{train,dev,vault}.parquet` + manifest."""

    snapshot_id: str
    as_of: datetime
    counts: Mapping[str, int]
    """Examples by `split/objective`, e.g. `train/pair`."""
    curation: Mapping[str, int]
    """The curation report: feedback and examples left out (immature, quarantined, ...), counted by reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Result of the expectation suite for a snapshot."""

    snapshot_id: str
    passed: bool
    failures: tuple[str, ...]
    """One sentence per expectation that failed; never a raw value."""
    docs: str | None = None
    """Folder of the Data Docs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A trained adapter that has not been judged yet: `<home>/candidates/<candidate_id>/`."""

    candidate_id: str
    """Id made from the adapter's sha256; a candidate of 0.1.0 has the id of its job."""
    job_id: str
    """Id of its inputs: snapshot, parent, base, settings and seed. One job may end with several candidates."""
    snapshot_id: str
    parent_version: int
    """Version that it continues: the champion or, on a night of consolidation, the base model (0)."""
    adapter_sha256: str
    parent_sha256: str | None
    base_fingerprint: str
    settings: Mapping[str, Json]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedScore:
    """Scores of candidate, champion and anchor on one item; None for a score that could not be taken."""

    item_id: str
    cluster: str
    candidate: float | None
    champion: float | None
    anchor: float | None = None


class SuiteRole(StrEnum):
    SUPERIORITY = "superiority"
    GUARD = "guard"
    REPORT = "report"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteEvidence:
    """Paired scores of every item of one suite."""

    suite: str
    suite_sha256: str
    role: SuiteRole
    scores: tuple[PairedScore, ...]


# Ids of evidence and decisions are digests of all fields (identity.py): with another one, stored rows look altered.
@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the gate may look at."""

    evidence_id: str
    candidate_id: str
    candidate_sha256: str
    champion_version: int
    champion_sha256: str | None
    anchor_version: int
    anchor_sha256: str | None
    """None for the base model, and in evidence that 0.1.0 collected."""
    suites: tuple[SuiteEvidence, ...]


class Verdict(StrEnum):
    PROMOTE = "PROMOTE"
    REJECT = "REJECT"
    HOLD = "HOLD"
    UNDERPOWERED = "UNDERPOWERED"


@dataclass(frozen=True, slots=True, kw_only=True)
class TestResult:
    """One statistical test of the gate; effects are mean score differences, candidate minus the other."""

    name: str
    role: Literal["superiority", "guard", "anchor"]
    items: int
    clusters: int
    effect: float
    low: float
    high: float
    """95 % interval of the effect, clustered by user."""
    p_value: float | None
    mde: float
    """Minimum detectable effect at a power of .8."""
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The gate's verdict on a candidate, with its reasons."""

    decision_id: str
    evidence_id: str
    candidate_id: str
    candidate_sha256: str
    """sha256 of the judged adapter: no other may be promoted on this decision."""
    champion_version: int
    champion_sha256: str | None
    """sha256 of the adapter that it was judged against; None for the base model."""
    verdict: Verdict
    reasons: tuple[str, ...]
    tests: tuple[TestResult, ...]


class Action(StrEnum):
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    ANCHOR = "anchor"


# Every field is hashed into `entry_hash`: a further one would break the chain of every ledger that exists.
@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """One row of the append-only, hash-chained ledger. Version 0 is the base model without an adapter."""

    sequence: int
    action: Action
    model: str
    from_version: int
    to_version: int
    adapter_sha256: str | None
    """sha256 of the adapter of `to_version`; None for the base model."""
    decision_id: str | None
    """Id of the decision behind the move; None for a move by a person without one."""
    actor: str
    reason: str
    recorded_at: datetime
    previous_hash: str
    entry_hash: str


# The order of these members is the order of a night.
class Stage(StrEnum):
    CAPTURE = "capture"
    CURATE = "curate"
    VALIDATE = "validate"
    TRAIN = "train"
    REGISTER = "register"
    EVALUATE = "evaluate"
    DECIDE = "decide"
    PROMOTE = "promote"
    REPORT = "report"


class NightStatus(StrEnum):
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    """The night cannot be finished: its training would fail again, or a person gave it up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One run of the loop, which can be resumed: each finished stage has left the id of its output."""

    night_id: str
    as_of: datetime
    status: NightStatus
    champion_version: int
    """Version that served when the night began."""
    outputs: Mapping[Stage, str]
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Policy that it began with and ends under; empty for a night of 0.1, which ends under what is set then."""
    reasons: tuple[str, ...] = ()
    verdict: Verdict | None = None
    started_at: datetime
    finished_at: datetime | None = None
