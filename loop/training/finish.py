"""End of a training: its figures, and the candidate on disk, or the error where it learnt nothing or diverged."""

import logging
from collections.abc import Mapping, Sequence
from math import fsum, isfinite

from loop.alarms import alarms, what_ended
from loop.errors import TrainingError
from loop.hashing import adapter_sha256, candidate_id
from loop.models import fingerprint
from loop.settings import of_training
from loop.training import checkpoint, manifest, ranks
from loop.training.checkpoint import State
from loop.training.plan import Plan
from loop.training.weights import adapters
from loop.types import Candidate

_LOG = logging.getLogger(__name__)
LOWER_RATE = "lower `learning_rate` under [training]"
"""Remedy for a training that diverges."""


def finish(plan: Plan, state: State) -> None:
    """Save the adapter as it is now as the candidate of `plan.job`, with its manifest.

    Raises TrainingError when the adapter did not change, or when it or the loss is no longer finite.
    """
    job = plan.job
    figures = _figures(plan, state)
    _require_learnt(plan, state, figures)
    if ranks.rank() > 0:
        return
    plan.reference.save()
    adapters.save(plan.model, job.folder)
    made = adapter_sha256(job.folder)
    candidate = Candidate(
        candidate_id=candidate_id(made),
        job_id=job.job_id,
        snapshot_id=job.snapshot_id,
        parent_version=job.parent_version,
        adapter_sha256=made,
        parent_sha256=adapter_sha256(job.parent) if job.parent else None,
        base_fingerprint=fingerprint(job.base),
        settings={**of_training(job.settings), "dtype": job.dtype},
        metrics=figures | _alarms(figures),
    )
    # The manifest says that the training has finished: after the adapter, and before the checkpoint is gone.
    manifest.write(job.folder, candidate, {**plan.machine, "pass_tokens": state.budget})
    checkpoint.discard(job.folder)


def _figures(plan: Plan, state: State) -> dict[str, float]:
    """Final figures of a training, without alarms."""
    schedule = plan.schedule
    return {
        **_last_quarter(state.history),
        "steps": state.step,
        "steps_planned": schedule.wanted,
        "seconds": state.seconds,
        "skipped": state.skipped,
        "examples": len(plan.encoding.examples) - schedule.left_out,
        "left_out": schedule.left_out,
        "tokens": sum(plan.encoding.examples[index].size for step in schedule.batches[: state.step] for index in step),
        "dropped": plan.encoding.dropped,
        "truncated": plan.encoding.truncated,
        "budget_hit": float(state.step < schedule.wanted or schedule.left_out > 0),
    }


def _last_quarter(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each metric over the last quarter of the steps; a metric without a finite value there is left out."""
    tail = history[-max(1, len(history) // 4) :]
    # Steps have different metrics: one without pairs has no accuracy.
    names = dict.fromkeys(name for metrics in tail for name in metrics)
    means: dict[str, float] = {}
    for name in names:
        found = [metrics[name] for metrics in tail if isfinite(metrics.get(name, float("nan")))]
        if found:
            means[name] = fsum(found) / len(found)
    return means


def _require_learnt(plan: Plan, state: State, figures: Mapping[str, float]) -> None:
    """Raises TrainingError for an adapter that did not change, or that diverged."""
    if adapters.weights_sha256(plan.model) == plan.began_as:
        raise TrainingError(
            f"the adapter did not change in {state.step} steps: this run learnt nothing",
            f"raise `learning_rate` or {what_ended(figures)} under [training]",
        )
    if not (
        isfinite(state.history[-1]["loss"])
        and all(bool(weight.isfinite().all()) for weight in adapters.trainable(plan.model).values())
    ):
        raise TrainingError(f"loss or adapter is not finite after {state.step} steps: this run diverged", LOWER_RATE)


def _alarms(figures: Mapping[str, float]) -> dict[str, float]:
    """Metrics that say which alarms the final figures of a training raise; each alarm is logged."""
    found = alarms(figures)
    for name, said in found.items():
        _LOG.warning("%s: %s", name, said)
    return {f"alarm_{name}": 1.0 for name in found}
