"""One night, run or resumed: its stages in their order, as a persisted state machine under a lease."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from loop.errors import IntegrityError, LowMemoryError, StaleChampionError, TrainingError
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
from loop.promotion import BASE, champion
from loop.report.outcomes import NOT_PROMOTED
from loop.settings import differences, policy, restored
from loop.types import Night, NightStatus, Stage, Verdict

log = logging.getLogger(__name__)

LEASE_SECONDS = 60.0
"""Duration of the lease, which is renewed while a night runs."""
NIGHT = "night-"
"""Beginning of the ids of nights; their number follows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a stage: the id of its output, and for some stages a verdict or reasons to skip the rest."""

    output: str | None
    """Id of what the stage made; None where it made nothing."""
    verdict: Verdict | None = None
    reasons: tuple[str, ...] = ()
    ends: NightStatus | None = None
    """Status of a night that ends with this stage: only its report follows."""


def run(parts: Parts, as_of: datetime, *, abandon: str = "") -> Night:
    """Run one night, from its first unfinished stage to its report.

    An interrupted night goes on and keeps the `as_of` and the settings that it began with; with `abandon`, a reason, it
    is closed as FAILED instead and a new one begins. Raises LeaseHeldError while another night runs.
    """
    with parts.store.lease("night", LEASE_SECONDS):
        night = _open(parts, as_of, abandon)
        parts = _as_it_began(parts, night)
        while (stage := _next_stage(night)) is not None:
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
            reached = list(last.outputs)
            log.warning("%s of %s goes on after %s", last.night_id, last.as_of, reached[-1] if reached else "nothing")
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
        outputs={},
        settings=policy(parts.settings),
        started_at=parts.clock(),
    )
    parts.store.save_night(night)
    return night


def _as_it_began(parts: Parts, night: Night) -> Parts:
    """The parts with the settings of the night's beginning, so that no night is half of one policy, half of another."""
    if not night.settings:
        return parts
    began = restored(night.settings, parts.settings.addresses)
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
        return Outcome(None, reasons=(f"{error.what}; what to do: {error.remedy}",), ends=NightStatus.FAILED)


def _next_stage(night: Night) -> Stage | None:
    if night.status is not NightStatus.RUNNING:  # skipped and failed nights, too, leave a page that says why
        return None if Stage.REPORT in night.outputs else Stage.REPORT
    return next((stage for stage in Stage if stage not in night.outputs), None)


def _close_stage(night: Night, stage: Stage, outcome: Outcome, now: datetime) -> Night:
    night = replace(
        night,
        outputs={**night.outputs, stage: outcome.output} if outcome.output is not None else night.outputs,
        verdict=outcome.verdict or night.verdict,
        reasons=night.reasons + outcome.reasons,
        status=outcome.ends or night.status,
    )
    if stage is not Stage.REPORT:
        return night
    status = NightStatus.DONE if night.status is NightStatus.RUNNING else night.status
    return replace(night, status=status, finished_at=now)


def _capture(parts: Parts, _: Night) -> Outcome:
    return Outcome(str(capture_events(parts)))


def _curate(parts: Parts, night: Night) -> Outcome:
    watermark = int(night.outputs[Stage.CAPTURE])
    return Outcome(curate_snapshot(parts, watermark, night.as_of).snapshot_id)


def _validate(parts: Parts, night: Night) -> Outcome:
    validation = validate_snapshot(parts, night.outputs[Stage.CURATE])
    ends = NightStatus.SKIPPED if validation.failures else None
    return Outcome(validation.docs or "no docs", reasons=validation.failures, ends=ends)


def parent_version(night: Night, every: int) -> int:
    """Version that a night's training continues: the champion, on every `every`th night the base model (0: never)."""
    number = int(night.night_id.removeprefix(NIGHT))
    return BASE if every and number % every == 0 else night.champion_version


def _train(parts: Parts, night: Night) -> Outcome:
    parent = parent_version(night, parts.settings.training.consolidate_every)
    job = job_id(parts, night.outputs[Stage.CURATE], parent)
    # Looked up by the job first: without new feedback a night ends before it trains, not after.
    known = {candidate.candidate_id for candidate in parts.store.candidates_of(job)}
    if judged := _judged(parts, known):
        candidate_id = judged.outputs[Stage.TRAIN]
        same = f"the same training would be made again, and its candidate {candidate_id} has been judged"
        reason = f"no new feedback since {judged.night_id}: {same}"
        return Outcome(candidate_id, reasons=(reason,), ends=NightStatus.SKIPPED)
    try:
        trained = train_candidate(parts, night.outputs[Stage.CURATE], parent, night.night_id)
    except TrainingError as error:
        # Memory may be free another night; any other failure would repeat itself.
        ends = NightStatus.SKIPPED if isinstance(error, LowMemoryError) else NightStatus.FAILED
        return Outcome(None, reasons=(f"{error.what}; what to do: {error.remedy}",), ends=ends)
    # Another job may come to the same bytes: judged again, they would have a second chance to pass by luck.
    if judged := _judged(parts, {trained.candidate_id}):
        reason = f"the training came to the bytes of candidate {trained.candidate_id}, which {judged.night_id} judged"
        return Outcome(trained.candidate_id, reasons=(reason,), ends=NightStatus.SKIPPED)
    return Outcome(trained.candidate_id)


def _judged(parts: Parts, candidate_ids: Collection[str]) -> Night | None:
    """The first night that came to a verdict on one of these candidates."""
    nights = parts.store.nights()
    return next((night for night in nights if night.verdict and night.outputs.get(Stage.TRAIN) in candidate_ids), None)


def _register(parts: Parts, night: Night) -> Outcome:
    return Outcome(str(register_candidate(parts, night.outputs[Stage.TRAIN])))


def _evaluate(parts: Parts, night: Night) -> Outcome:
    return Outcome(evaluate_candidate(parts, night.outputs[Stage.TRAIN], night.champion_version).evidence_id)


def _decide(parts: Parts, night: Night) -> Outcome:
    decision = decide_candidate(parts, night.outputs[Stage.EVALUATE])
    return Outcome(decision.decision_id, verdict=decision.verdict)


def _promote(parts: Parts, night: Night) -> Outcome:
    if night.verdict is not Verdict.PROMOTE or not parts.settings.gate.promote:
        return Outcome(NOT_PROMOTED)
    decision_id = night.outputs[Stage.DECIDE]
    try:
        promotion = promote_version(parts, int(night.outputs[Stage.REGISTER]), decision_id, night.night_id)
    except StaleChampionError as error:  # somebody moved the champion meanwhile, which is no fault of the night
        return Outcome(NOT_PROMOTED, reasons=(f"not promoted: {error.what}",))
    return Outcome(promotion.entry_hash)


def _report(parts: Parts, night: Night) -> Outcome:
    return Outcome(str(write_report(parts, night)))


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
