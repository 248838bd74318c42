"""A night, and the results of its stages."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, Self

from loop.types.decisions import Verdict
from loop.types.events import Json


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


class Without(Enum):
    """Output of a stage that finished without a result; the values are stored."""

    DOCS = "no docs"
    PROMOTION = "not promoted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Output of each finished stage of a night; None of a stage that has not finished."""

    watermark: int | None = None
    """Ingestion sequence of the newest row that was captured."""
    snapshot_id: str | None = None
    docs: str | Without | None = None
    """Folder of the Data Docs of the validation."""
    candidate_id: str | None = None
    version: int | None = None
    evidence_id: str | None = None
    decision_id: str | None = None
    entry_hash: str | Without | None = None
    """Hash of the promotion's row in the ledger."""
    report: str | None = None
    """File of the night's page."""

    @property
    def promoted(self) -> bool:
        """Whether the night itself promoted its candidate."""
        return isinstance(self.entry_hash, str)

    def by_stage(self) -> dict[Stage, str]:
        """The outputs as text, by stage and in their order: how nights are stored and shown."""
        found = {}
        for stage, name in OUTPUTS.items():
            made = getattr(self, name)
            if made is not None:
                found[stage] = made.value if isinstance(made, Without) else str(made)
        return found

    @classmethod
    def of_stages(cls, texts: Mapping[Stage, str]) -> Self:
        """The outputs that `by_stage` wrote."""
        made: dict[str, Any] = {OUTPUTS[stage]: text for stage, text in texts.items()}
        for name in ("watermark", "version"):
            if name in made:
                made[name] = int(made[name])
        for name, nothing in (("docs", Without.DOCS), ("entry_hash", Without.PROMOTION)):
            if made.get(name) == nothing.value:
                made[name] = nothing
        return cls(**made)


OUTPUTS: Mapping[Stage, str] = {
    Stage.CAPTURE: "watermark",
    Stage.CURATE: "snapshot_id",
    Stage.VALIDATE: "docs",
    Stage.TRAIN: "candidate_id",
    Stage.REGISTER: "version",
    Stage.EVALUATE: "evidence_id",
    Stage.DECIDE: "decision_id",
    Stage.PROMOTE: "entry_hash",
    Stage.REPORT: "report",
}
"""Field of each stage's output, in the order of the night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One run of the loop, which can be resumed: each finished stage has left its output."""

    night_id: str
    as_of: datetime
    status: NightStatus
    champion_version: int
    """Version that served when the night began."""
    outputs: Outputs = field(default_factory=Outputs)
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Policy that it began with and ends under; empty for a night of 0.1, which ends under what is set then."""
    reasons: tuple[str, ...] = ()
    verdict: Verdict | None = None
    started_at: datetime
    finished_at: datetime | None = None

    @property
    def next_stage(self) -> Stage | None:
        """The first stage that has not finished; None after the last."""
        finished = self.outputs.by_stage()
        match self.status:
            case NightStatus.RUNNING:
                return next((stage for stage in Stage if stage not in finished), None)
            # A night that was skipped or failed, too, leaves a page that says why.
            case NightStatus.SKIPPED | NightStatus.FAILED | NightStatus.DONE:
                return None if Stage.REPORT in finished else Stage.REPORT

    def ended(self) -> "Night":
        """The night at its end: DONE, unless it was skipped or failed."""
        return replace(self, status=NightStatus.DONE) if self.status is NightStatus.RUNNING else self
