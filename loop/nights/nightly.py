"""One night, run or resumed: its stages in their order, as a persisted state machine under a lease."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from loop.errors import IntegrityError, LowMemoryError, StaleChampionError, SuiteError, TrainingError
from loop.nights.capture import capture_events
from loop.nights.curate import curate_snapshot
from loop.nights.decide import decide_candidate
from loop.nights.evaluate import evaluate_candidate
from loop.nights.parts import Parts
from loop.nights.promote import promote_version
from loop.nights.register import register_candidate
from loop.nights.report import record_night, write_report
from loop.nights.train import job_id, train_candidate
from loop.nights.validate import validate_snapshot
from loop.ports import LEASE_SECONDS, NIGHT_LEASE
from loop.promotion import BASE, champion
from loop.report.outcomes import NOT_PROMOTED
from loop.settings import differences, policy, restored
from loop.types import Night, NightStatus, Outputs, Stage, Verdict, Without

log = logging.getLogger(__name__)

NIGHT = "night-"
"""Beginning of the ids of nights; their number follows."""
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a stage: the night's outputs after it, and for some stages a verdict or reasons to skip the rest."""

    outputs: Outputs
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    ends: NightStatus | None = None
    """Status of a night that ends with this stage: only its report follows."""


def run(parts: Parts, as_of: datetime, *, abandon: str = "") -> Night:
    """Run one night, from its first unfinished stage to its report.

    An interrupted night goes on and keeps the `as_of` and the settings that it began with; with `abandon`, a reason, it
    is closed as FAILED instead and a new one begins. Raises LeaseHeldError while another night runs.
    """
    with parts.store.lease(NIGHT_LEASE, LEASE_SECONDS):
        night = _open(parts, as_of, abandon)
        parts = _as_it_began(parts, night)
        while (stage := night.next_stage) is not None:
            log.info("%s: %s", night.night_id, stage)
            parts.progress(stage, 0, 1, "begins")
            night = _close_stage(night, stage, _outcome(parts, night, stage), parts.clock())
            parts.progress(stage, 1, 1, "ended")
            parts.store.save_night(night)  # after every stage: a night that is killed goes on from here
        return night


def _open(parts: Parts, as_of: datetime, abandon: str) -> Night:
    nights = parts.store.nights()
    if nights and nights[-1].finished_at is None:
        last = nights[-1]
        if not abandon:
            log.warning("%s of %s goes on with %s", last.night_id, last.as_of, last.next_stage)
            return last
        reasons = (*last.reasons, f"abandoned: {abandon}")
        given_up = replace(last, status=NightStatus.FAILED, reasons=reasons, finished_at=parts.clock())
        parts.store.save_night(given_up)
        record_night(parts, given_up)  # without a report stage, nothing else tells the registry why it failed
    night = Night(
        night_id=f"{NIGHT}{len(nights) + 1:04d}",
        as_of=as_of,
        status=NightStatus.RUNNING,
        # Who serves now: training continues it and evidence compares with it, whoever moves the champion meanwhile.
        champion_version=champion(parts.ledger.entries()),
        settings=policy(parts.settings),
        started_at=parts.clock(),
    )
    parts.store.save_night(night)
    return night


def _as_it_began(parts: Parts, night: Night) -> Parts:
    """The parts with the settings that the night began with, so that no night mixes two policies."""
    if not night.settings:
        return parts
    began = restored(night.settings, parts.settings)
    changed = differences(policy(began), policy(parts.settings))
    if not changed:
        return parts
    log.warning(
        "%s goes on under the settings that it began with, not with what was set since: %s; "
        "`nightshift run --abandon REASON` gives it up and begins a new one",
        night.night_id,
        ", ".join(changed),
    )
    # What a person has forbidden since then is not done all the same.
    promote = began.gate.promote and parts.settings.gate.promote
    return replace(parts, settings=replace(began, gate=replace(began.gate, promote=promote)))


def _outcome(parts: Parts, night: Night, stage: Stage) -> Outcome:
    """Result of a stage; bytes that are not the recorded ones close the night, so that the next can begin."""
    try:
        return STAGES[stage](parts, night)
    except IntegrityError as error:
        if stage is Stage.REPORT:  # a closed night still writes its report, and would fail at it for ever
            raise
        reason = f"{error.what}; what to do: {error.remedy}"
        return Outcome(night.outputs, reasons=(reason,), ends=NightStatus.FAILED)


def _close_stage(night: Night, stage: Stage, outcome: Outcome, now: datetime) -> Night:
    night = replace(
        night,
        outputs=outcome.outputs,
        verdict=outcome.verdict or night.verdict,
        reasons=night.reasons + outcome.reasons,
        status=outcome.ends or night.status,
    )
    return replace(night.ended(), finished_at=now) if stage is Stage.REPORT else night


def _made(output: Output | None) -> Output:
    """Output of a stage before. Raises IntegrityError where the night's row has lost it."""
    if output is None:
        raise IntegrityError(
            "the night has passed a stage whose output its row does not have",
            'give it up: nightshift run --abandon "REASON"',
        )
    return output


def _capture(parts: Parts, night: Night) -> Outcome:
    return Outcome(replace(night.outputs, watermark=capture_events(parts)))


def _curate(parts: Parts, night: Night) -> Outcome:
    snapshot = curate_snapshot(parts, _made(night.outputs.watermark), night.as_of)
    return Outcome(replace(night.outputs, snapshot_id=snapshot.snapshot_id))


def _validate(parts: Parts, night: Night) -> Outcome:
    validation = validate_snapshot(parts, _made(night.outputs.snapshot_id))
    ends = NightStatus.SKIPPED if validation.failures else None
    outputs = replace(night.outputs, docs=validation.docs or Without.DOCS)
    return Outcome(outputs, reasons=validation.failures, ends=ends)


def parent_version(night: Night, every: int) -> int:
    """Version that a night's training continues: the champion, on every `every`th night the base model (0: never)."""
    number = int(night.night_id.removeprefix(NIGHT))
    return BASE if every and number % every == 0 else night.champion_version


def _train(parts: Parts, night: Night) -> Outcome:
    parent = parent_version(night, parts.settings.training.consolidate_every)
    snapshot_id = _made(night.outputs.snapshot_id)
    job = job_id(parts, snapshot_id, parent)
    # Looked up by the job first: without new feedback a night ends before it trains, not after.
    known = {candidate.candidate_id for candidate in parts.store.candidates_of(job)}
    if judged := _judged(parts, known):
        candidate_id = judged.outputs.candidate_id
        same = f"the same training would be made again, and its candidate {candidate_id} has been judged"
        reason = f"no new feedback since {judged.night_id}: {same}"
        outputs = replace(night.outputs, candidate_id=candidate_id)
        return Outcome(outputs, reasons=(reason,), ends=NightStatus.SKIPPED)
    try:
        trained = train_candidate(parts, snapshot_id, parent, night.night_id)
    except TrainingError as error:
        # Memory may be free another night; any other failure would repeat itself.
        ends = NightStatus.SKIPPED if isinstance(error, LowMemoryError) else NightStatus.FAILED
        return Outcome(night.outputs, reasons=(f"{error.what}; what to do: {error.remedy}",), ends=ends)
    except SuiteError as error:
        reason = f"{error.what}; what to do: {error.remedy}"
        return Outcome(night.outputs, reasons=(reason,), ends=NightStatus.FAILED)
    outputs = replace(night.outputs, candidate_id=trained.candidate_id)
    # Another job may come to the same bytes: judged again, they would have a second chance to pass by luck.
    if judged := _judged(parts, {trained.candidate_id}):
        reason = f"the training came to the bytes of candidate {trained.candidate_id}, which {judged.night_id} judged"
        return Outcome(outputs, reasons=(reason,), ends=NightStatus.SKIPPED)
    return Outcome(outputs)


def _judged(parts: Parts, candidate_ids: Collection[str]) -> Night | None:
    """The first night that came to a verdict on one of these candidates."""
    for night in parts.store.nights():
        if night.verdict and night.outputs.candidate_id in candidate_ids:
            return night
    return None


def _register(parts: Parts, night: Night) -> Outcome:
    version = register_candidate(parts, _made(night.outputs.candidate_id))
    return Outcome(replace(night.outputs, version=version))


def _evaluate(parts: Parts, night: Night) -> Outcome:
    evidence = evaluate_candidate(parts, _made(night.outputs.candidate_id), night.champion_version)
    return Outcome(replace(night.outputs, evidence_id=evidence.evidence_id))


def _decide(parts: Parts, night: Night) -> Outcome:
    decision = decide_candidate(parts, _made(night.outputs.evidence_id))
    return Outcome(replace(night.outputs, decision_id=decision.decision_id), verdict=decision.verdict)


def _promote(parts: Parts, night: Night) -> Outcome:
    outputs = replace(night.outputs, entry_hash=Without.PROMOTION)
    if night.verdict is not Verdict.PROMOTE or not parts.settings.gate.promote:
        return Outcome(outputs)
    version, decision_id = _made(night.outputs.version), _made(night.outputs.decision_id)
    try:
        promotion = promote_version(parts, version, decision_id, night.night_id)
    except StaleChampionError as error:  # somebody moved the champion meanwhile, which is no fault of the night
        return Outcome(outputs, reasons=(f"{NOT_PROMOTED}: {error.what}",))
    return Outcome(replace(outputs, entry_hash=promotion.entry_hash))


def _report(parts: Parts, night: Night) -> Outcome:
    return Outcome(replace(night.outputs, report=str(write_report(parts, night))))


STAGES: Mapping[Stage, Callable[[Parts, Night], Outcome]] = {
    Stage.CAPTURE: _capture,
    Stage.CURATE: _curate,
    Stage.VALIDATE: _validate,
    Stage.TRAIN: _train,
    Stage.REGISTER: _register,
    Stage.EVALUATE: _evaluate,
    Stage.DECIDE: _decide,
    Stage.PROMOTE: _promote,
    Stage.REPORT: _report,
}
