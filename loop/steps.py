"""Each stage of a night as one call, ids in and values out: what `nightly` orders and the CLI's verbs call by hand.

A stage's own modules are imported in its call: a command that runs one stage waits for no other's libraries.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from loop import candidates, promote, snapshot
from loop.canonical import digest
from loop.capture import capture
from loop.errors import IntegrityError, NotFoundError
from loop.identity import evidence_id, require_evidence
from loop.memory import MEMORY, Memory
from loop.models import find, fingerprint, importing, require_torch
from loop.ports import BASE_MODEL, DTYPE, Clock, EventLog, Ledger, Progress, Registry, Store, Validator
from loop.report.run import run_note, run_tags, run_title
from loop.settings import Settings, policy
from loop.types import (
    Candidate,
    Decision,
    Evidence,
    Json,
    Night,
    NightStatus,
    Promotion,
    Snapshot,
    Split,
    Stage,
    Validation,
)

if TYPE_CHECKING:
    from loop import training
    from loop.models import LanguageModel

log = logging.getLogger(__name__)

STEPS_FILE = "steps.jsonl"
ANSWERS_FILE = "answers.json"


@dataclass(frozen=True, slots=True)
class Parts:
    """The connectors a night works with."""

    log: EventLog
    store: Store
    ledger: Ledger
    registry: Registry
    validator: Validator
    settings: Settings
    clock: Clock
    progress: Progress
    memory: Memory = MEMORY

    @property
    def home(self) -> Path:
        return self.settings.addresses.home


def serving_version(parts: Parts) -> int:
    """The champion according to the ledger; 0 is the base model."""
    return promote.champion(parts.ledger.entries())


def capture_events(parts: Parts) -> int:
    """Bring the store up to date with the log; returns the watermark."""
    capture(parts.log, parts.store, batch_size=parts.settings.log.batch_events)
    return parts.store.watermark()


def curate_snapshot(parts: Parts, watermark: int, as_of: datetime) -> Snapshot:
    """All feedback up to `watermark` as an immutable snapshot."""
    from loop.curation import curate

    events = parts.store.interactions(watermark), parts.store.feedback(watermark)
    curated = curate(*events, parts.settings.curation, as_of)
    judging, needed = curated.report.get("judging_users", 0), parts.settings.gate.min_clusters
    if judging < needed:
        log.warning(
            "%d held-out users can judge a candidate of this snapshot, and `min_clusters` under [gate] asks for %d: "
            "it can be trained, but not promoted before more users have given feedback",
            judging,
            needed,
        )
    made = snapshot.write(curated.examples, curated.report, parts.settings.curation, as_of, parts.home)
    parts.store.save_snapshot(made)
    return made


def validate_snapshot(parts: Parts, snapshot_id: str) -> Validation:
    """The expectation suite's word on a snapshot; its Data Docs go beside it."""
    curation = parts.store.snapshot(snapshot_id).curation
    snapshot.verify(parts.home, snapshot_id)
    folder = _snapshot_folder(parts, snapshot_id)
    return parts.validator(folder, parts.settings.validation, curation, parts.home / "data_docs" / snapshot_id)


def train_candidate(parts: Parts, snapshot_id: str, parent: int, night_id: str = "") -> Candidate:
    """Continue a version on a snapshot's train split, 0 is the base; goes on where a killed training stopped.

    A job that is finished gives the same candidate again, and trains anew where its files are gone.
    """
    parts.store.snapshot(snapshot_id)
    with importing():
        from loop import training

    job = _job(parts, snapshot_id, parent)
    if training.finished(job.folder):
        candidates.forget_lost(parts.home, job.job_id, training.candidate(job))
    with parts.registry.run(job.job_id, night_id=night_id) as run:
        run.log_settings(policy(parts.settings))
        run.log_snapshot(parts.store.snapshot(snapshot_id), _snapshot_folder(parts, snapshot_id))
        parts.progress("train", 0, 1, "begins")
        for step in training.train(job, parts.memory, parts.progress):
            run.log_metrics(step.metrics, step.step)
            _append_line(job.folder / STEPS_FILE, {"step": step.step, **step.metrics})
            note = f"loss {step.metrics['loss']:.3f}"
            parts.progress("train", step.step, step.of, note)
        parts.progress("train", 1, 1, "ended")
        candidate = training.candidate(job)
        candidates.deliver(parts.home, candidate)
        ended = {f"ended/{name}": value for name, value in candidate.metrics.items()}
        run.log_metrics(ended, int(candidate.metrics["steps"]))
    parts.store.save_candidate(candidate)
    return candidate


def job_id(parts: Parts, snapshot_id: str, parent: int) -> str:
    """Id of what a training is made from; the same inputs give the same job, whatever bytes it comes to."""
    made_from = {
        "snapshot": snapshot_id,
        "parent": promote.adapter_of(parts.registry, parent),
        "base": fingerprint(_base(parts.settings)),
        "training": asdict(parts.settings.training),
        "dtype": parts.settings.model.dtype,
    }
    return digest(made_from)[:16]


def register_candidate(parts: Parts, candidate_id: str) -> int:
    """A version in the registry for the candidate; the same bytes keep their version.

    Raises IntegrityError when the candidate's adapter was altered, NotFoundError when it is gone.
    """
    candidate = parts.store.candidate(candidate_id)
    base = Path(parts.settings.model.base)
    tags = {
        "snapshot_id": candidate.snapshot_id,
        "parent_version": str(candidate.parent_version),
        BASE_MODEL: str(base.absolute() if base.exists() else base),
        DTYPE: parts.settings.model.dtype,
    }
    return parts.registry.register(candidate, candidates.adapter(parts.home, candidate), tags)


def evaluate_candidate(parts: Parts, candidate_id: str, champion: int) -> Evidence:
    """Candidate, champion and anchor on the same held-out items, in one process, each with its recorded bytes."""
    candidate, entries = parts.store.candidate(candidate_id), parts.ledger.entries()
    require_torch()
    from evals.evidence import collect
    from evals.suites import held_out

    parts.progress("evaluate", 0, 1, "begins")
    anchor = promote.anchor(entries)
    adapter = candidates.adapter(parts.home, candidate)
    dev, vault = (snapshot.read(parts.home, candidate.snapshot_id, split) for split in (Split.DEV, Split.VAULT))
    judged, answers = collect(
        held_out(dev, vault, parts.settings.evaluation),
        candidate=_load(parts.settings, adapter),
        champion=load_version(parts.settings, parts.registry, entries, champion),
        anchor=load_version(parts.settings, parts.registry, entries, anchor) if anchor != champion else None,
        cache=parts.home / "cache" / "answers",
        chunk=parts.settings.evaluation.batch_prompts,
        progress=parts.progress,
    )
    evidence = Evidence(
        evidence_id="",
        candidate_id=candidate_id,
        candidate_sha256=candidate.adapter_sha256,
        champion_version=champion,
        champion_sha256=promote.adapter_of(parts.registry, champion),
        anchor_version=anchor,
        anchor_sha256=promote.adapter_of(parts.registry, anchor),
        suites=judged,
    )
    evidence = replace(evidence, evidence_id=evidence_id(evidence))
    parts.store.save_evidence(evidence)
    with parts.registry.run(candidate.job_id) as run:
        run.log_metrics(dict(_scores(evidence)), 0)
    (adapter / ANSWERS_FILE).write_text(json.dumps(answers))
    return evidence


def decide_candidate(parts: Parts, evidence_id: str) -> Decision:
    """The gate's verdict on recorded evidence, written on the version's page in the registry.

    Raises IntegrityError when evidence, candidate and version are not about the same bytes.
    """
    from loop import gate

    evidence = parts.store.evidence(evidence_id)
    require_evidence(evidence)
    version = version_of(parts.registry, _judged(parts, evidence))
    decision = gate.decide(evidence, parts.settings.gate)
    parts.store.save_decision(decision)
    tags = {"verdict": decision.verdict, "decision_id": decision.decision_id}
    parts.registry.describe(version, gate.explain(decision), tags)
    return decision


def promote_version(parts: Parts, version: int, decision_id: str, reason: str) -> Promotion:
    """Make a version the champion on a PROMOTE decision."""
    return promote.promote(
        parts.ledger,
        parts.registry,
        version=version,
        decision=parts.store.decision(decision_id),
        model=parts.settings.model.name,
        actor="nightshift",
        reason=reason,
        clock=parts.clock,
    )


def write_report(parts: Parts, night: Night) -> Path:
    """The night's page under `<home>/nights/`, also kept with the candidate's run in the registry.

    It is the last thing that a night does, so it tells of a night that has ended.
    """
    from loop import report

    ended = replace(night, status=NightStatus.DONE) if night.status is NightStatus.RUNNING else night
    outputs, store = night.outputs, parts.store
    candidate = store.candidate(outputs[Stage.TRAIN]) if Stage.REGISTER in outputs else None
    trained_in = candidates.job_folder(parts.home, candidate.job_id) if candidate else None
    decision = store.decision(outputs[Stage.DECIDE]) if Stage.DECIDE in outputs else None
    folder = candidates.candidate_folder(parts.home, candidate.candidate_id) if candidate else None
    earlier = [earlier for earlier in store.nights() if earlier.night_id < night.night_id]
    text = report.render(
        report.NightReport(
            night=ended,
            model=parts.settings.model.name,
            snapshot=store.snapshot(outputs[Stage.CURATE]) if Stage.CURATE in outputs else None,
            candidate=candidate,
            evidence=store.evidence(outputs[Stage.EVALUATE]) if Stage.EVALUATE in outputs else None,
            decision=decision,
            version=int(outputs[Stage.REGISTER]) if candidate else None,
            steps=_read_steps(trained_in / STEPS_FILE) if trained_in else (),
            answers=_read_answers(folder / ANSWERS_FILE) if folder and decision else (),
            earlier=earlier,
            decisions=_decisions(store, earlier),
            rows=parts.ledger.entries(),
            serving=serving_version(parts),
        )
    )
    path = parts.home / "nights" / night.night_id / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    record_night(parts, ended)
    return path


def record_night(parts: Parts, night: Night) -> None:
    """A night's run in the registry: named by what came of it, with its reasons, snapshot, page and Data Docs."""
    outputs, store = night.outputs, parts.store
    decision = store.decision(outputs[Stage.DECIDE]) if Stage.DECIDE in outputs else None
    kept = [(parts.home / "nights" / night.night_id / "report.html", "report")]
    with parts.registry.night_run(night.night_id, failed=night.status is NightStatus.FAILED) as run:
        run.name(run_title(night), run_note(night, decision), run_tags(night))
        if snapshot_id := outputs.get(Stage.CURATE):
            run.log_snapshot(store.snapshot(snapshot_id), _snapshot_folder(parts, snapshot_id))
            kept.append((parts.home / "data_docs" / snapshot_id, "data_docs"))
        for path, folder in kept:
            if path.exists():
                run.log_artifacts(path, folder)


def _decisions(store: Store, nights: Sequence[Night]) -> Mapping[str, Decision]:
    """By id, the decisions of `nights`; a page does without one that is not there any more."""
    found = {}
    for night in nights:
        with suppress(NotFoundError):
            decision = store.decision(night.outputs.get(Stage.DECIDE, ""))
            found[decision.decision_id] = decision
    return found


def load_version(settings: Settings, registry: Registry, entries: Sequence[Promotion], version: int) -> "LanguageModel":
    """A registered version ready to answer, 0 is the base model.

    Its adapter has the bytes that the registry and the ledger's `entries` recorded, and belongs to this base model.
    """
    require_torch()
    return _load(settings, _adapter_of(settings, registry, entries, version))


def load_base(settings: Settings) -> "LanguageModel":
    """The base model without an adapter, for which no registry is needed."""
    return _load(settings, None)


def version_of(registry: Registry, candidate: Candidate) -> int:
    """The registered version of a candidate, by the bytes of its adapter. Raises NotFoundError when there is none."""
    for registered in registry.versions():
        if registered.adapter_sha256 == candidate.adapter_sha256:
            return registered.version
    raise NotFoundError(
        f"candidate {candidate.candidate_id} is not registered", f"nightshift register {candidate.candidate_id}"
    )


def _judged(parts: Parts, evidence: Evidence) -> Candidate:
    """The candidate that evidence is about. Raises IntegrityError when it has other bytes."""
    candidate = parts.store.candidate(evidence.candidate_id)
    if candidate.adapter_sha256 != evidence.candidate_sha256:
        raise IntegrityError(
            f"evidence {evidence.evidence_id} is about other bytes than candidate {candidate.candidate_id} has",
            f"judge it again: nightshift evaluate {candidate.candidate_id}",
        )
    return candidate


def _snapshot_folder(parts: Parts, snapshot_id: str) -> Path:
    return parts.home / "snapshots" / snapshot_id


def _job(parts: Parts, snapshot_id: str, parent: int) -> "training.Job":
    from loop import training

    made_from = job_id(parts, snapshot_id, parent)
    return training.Job(
        job_id=made_from,
        snapshot_id=snapshot_id,
        examples=snapshot.read(parts.home, snapshot_id, Split.TRAIN),
        dev=snapshot.read(parts.home, snapshot_id, Split.DEV) if parts.settings.training.patience else (),
        base=_base(parts.settings),
        parent=_adapter_of(parts.settings, parts.registry, parts.ledger.entries(), parent),
        parent_version=parent,
        folder=candidates.job_folder(parts.home, made_from),
        cache=parts.home / "cache" / "reference",
        settings=parts.settings.training,
        dtype=parts.settings.model.dtype,
    )


def _adapter_of(settings: Settings, registry: Registry, entries: Sequence[Promotion], version: int) -> Path | None:
    """Folder of a version's adapter, verified and for this base model; None for the base model."""
    if version == promote.BASE:
        return None
    return promote.fetch(registry, entries, version, fingerprint(_base(settings)))


def _scores(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Mean scores of every suite by the names the registry's pages show."""
    from evals.standings import standings

    for standing in standings(evidence.suites):
        yield f"{standing.suite}/candidate", standing.candidate
        yield f"{standing.suite}/champion", standing.champion


def _append_line(path: Path, values: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")


def _read_steps(path: Path) -> list[dict[str, float]]:
    """A resumed training writes its last steps again: the newest line of a step counts. 0.1.0 kept them elsewhere."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [*{line["step"]: line for line in lines}.values()]


def _read_answers(path: Path) -> list[dict[str, Json]]:
    """What candidate and champion answered; nothing where the candidate's folder was removed since."""
    answers: list[dict[str, Json]] = json.loads(path.read_text()) if path.exists() else []
    return answers


def _load(settings: Settings, adapter: Path | None) -> "LanguageModel":
    from loop.models import load

    batch = settings.evaluation.batch_prompts
    return load(_base(settings), dtype=settings.model.dtype, adapter=adapter, batch=batch)


def _base(settings: Settings) -> Path:
    return find(settings.model.base, *settings.addresses.models)
