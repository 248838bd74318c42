"""Examples, which curation makes from feedback, and the snapshot that holds those of one night."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from loop.types.events import FeedbackKind, Message, Verifier


class Objective(StrEnum):
    PAIR = "pair"
    RANKING = "ranking"
    UNPAIRED = "unpaired"
    DEMONSTRATION = "demonstration"


class Split(StrEnum):
    TRAIN = "train"
    DEV = "dev"
    VAULT = "vault"


@dataclass(frozen=True, slots=True)
class Branch:
    """One answer below an example's prompt, better (a score above 0) or worse by as much as its score has in size."""

    response: Message
    score: float = 1.0


# Its id is a digest of all fields: another field would give every example, and so every snapshot, another id.
@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An example that curation made from feedback: a prompt, scored branches and an objective.

    Branches come best first. Of a PAIR (two) and a RANKING (more) the best is above 0 and the worst below; those of one
    score are not compared. UNPAIRED has one branch, DEMONSTRATION one above 0.
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
