"""A candidate, the evidence of it, and the gate's decision."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from loop.types.events import Json


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
