"""Training loop: a job's examples and the champion's adapter in, optimiser steps out, a candidate on disk."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from math import inf, isfinite

from loop.alarms import alarms, what_ended
from loop.errors import TrainingError
from loop.hashing import adapter_sha256, candidate_id
from loop.machine import Machine
from loop.memory import Memory
from loop.models import fingerprint
from loop.ports import Progress
from loop.settings import of_training
from loop.settings.constants import AVERAGE_SHARE, MAX_GRAD_NORM
from loop.training import checkpoint, manifest, ranks
from loop.training.batch.packs import nodes
from loop.training.batch.schedule import behind, rate
from loop.training.checkpoint import State
from loop.training.job import Job, Step
from loop.training.objective import mixed
from loop.training.objective.accumulate import accumulate, clip
from loop.training.plan import Plan, prepare
from loop.training.size import announce
from loop.training.spikes import SPIKE, is_spike
from loop.training.weights import adapters
from loop.types import Candidate

_LOG = logging.getLogger(__name__)
LARGEST_SKIPPED_SHARE = 0.1
"""Largest share of skipped steps; one skipped step is always allowed."""
CALMER = "lower `learning_rate` under [training]"


def train(
    job: Job,
    read: Memory,
    progress: Progress,
    machine: Machine,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Step]:
    """Train `job` into `job.folder` and yield one `Step` after each optimiser step.

    `progress` reports what happens before the first step; `machine` makes choices that rules would make; `clock` tells
    seconds. A training started again after a kill continues at the last checkpoint and ends with the same bytes; a
    finished folder yields nothing. A step that would outlast the wall-clock budget, judged by the mean of the steps
    before it, is not begun, except the first. Raises TrainingError when there is nothing to train on, when too many
    steps diverge, and when the adapter did not change or is no longer finite; LowMemoryError when the memory that
    `read` watches does not become free.
    """
    if manifest.finished(job.folder):
        return
    plan = prepare(job, read, progress, machine)
    state = checkpoint.resume(job.folder, plan.key, plan.model, plan.optimizer, plan.average)
    # Passes of another size round differently, so a resumed training keeps the size of its checkpoint.
    state = replace(state, budget=state.budget or plan.pass_tokens)
    announce(plan, state, progress)
    first, before, started = state.step, state.seconds, clock()
    # Seconds of a step are 0 until one was measured: the first step is always begun.
    saved = each = 0.0
    while state.step < len(plan.batches) and _seconds_left(job, state) > each:
        state = _step(plan, state)
        # The first process's clock counts for all, so that all stop after the same step.
        elapsed = ranks.everyones(clock() - started)[0]
        state = replace(state, seconds=before + elapsed)
        if elapsed - saved >= 60 * machine.checkpoint_minutes:
            _save(plan, state)
            saved = clock() - started
        each = elapsed / (state.step - first)
        eta = min(each * (len(plan.batches) - state.step), _seconds_left(job, state))
        yield Step(state.step, len(plan.batches), state.seconds, eta, state.history[-1])
    if state.step < len(plan.batches):
        _LOG.warning("`budget_minutes` ended the training after %d of %d steps", state.step, len(plan.batches))
    _finish(plan, state)


def candidate(job: Job) -> Candidate:
    """The candidate that `job` became. Raises NotFoundError when its training has not finished."""
    return manifest.read(job.folder)


def _save(plan: Plan, state: State) -> None:
    if ranks.rank() == 0:
        # First: steps after a resume need the very log-probabilities that the checkpoint's steps have seen.
        plan.reference.save()
        checkpoint.save(plan.job.folder, plan.key, state, plan.model, plan.optimizer, plan.average)


def _step(plan: Plan, state: State) -> State:
    """State after one optimiser step; it is skipped where loss or gradient is not finite or the gradient is a spike."""
    started = time.monotonic()
    settings = plan.job.settings
    share = behind(state.step, len(plan.batches), state.seconds, 60 * settings.budget_minutes)
    learning_rate = rate(share, settings.learning_rate)
    for group in plan.optimizer.param_groups:
        group["lr"] = learning_rate
    chosen = [plan.encoding.examples[index] for index in plan.batches[state.step]]
    done = accumulate(plan.scorer, plan.reference, chosen, state, settings)
    norm = clip(adapters.trainable(plan.model).values(), chosen, MAX_GRAD_NORM)
    parts = mixed.example_losses(done.batch, done.scored, done.reference, state.delta, settings)
    if state.step == 0:  # policy and reference are the same model only before the first update
        mixed.check_first(done.batch, done.scored, done.reference, plan.scorer.number)
    metrics = mixed.measure(done.batch, done.scored, done.reference, parts, settings.pair.beta)
    sound = isfinite(norm) and isfinite(metrics["loss"]) and not is_spike(norm, state.history)
    if sound:
        plan.optimizer.step()
    plan.optimizer.zero_grad()
    if share > 1 - AVERAGE_SHARE:
        plan.average.add(plan.model)
    seconds = time.monotonic() - started
    metrics |= {
        "grad_norm": norm,
        "learning_rate": learning_rate,
        "tokens_per_second": sum(example.size for example in chosen) / seconds,
        "tokens_per_node": sum(len(ids) for example in chosen for ids in example.sequences) / nodes(*chosen),
    }
    state = replace(state, step=state.step + 1, history=tuple(chain(state.history, [metrics])))
    if not sound:
        return _skipped(state, len(plan.batches))
    # After sound steps only: a value that is not finite would stay in the running mean reward.
    return replace(state, delta=mixed.next_delta(done.batch, done.scored, done.reference, state.delta))


def _skipped(state: State, steps: int) -> State:
    """State after a skipped step. Raises TrainingError when too many of all `steps` were skipped."""
    state = replace(state, skipped=state.skipped + 1)
    if state.skipped > max(1, LARGEST_SKIPPED_SHARE * steps):
        raise TrainingError(
            f"loss or gradient was not finite or {SPIKE:.0f} times the usual in {state.skipped} of {state.step} steps",
            CALMER,
        )
    return state


def _seconds_left(job: Job, state: State) -> float:
    """Seconds left of the wall-clock budget; infinite without one."""
    budget = 60 * job.settings.budget_minutes
    return max(0.0, budget - state.seconds) if budget else inf


def _finish(plan: Plan, state: State) -> None:
    """Save the candidate: the mean of the last steps' adapters."""
    job = plan.job
    plan.average.put_into(plan.model)
    _require_learnt(plan, state)
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
        metrics=_metrics(plan, state),
    )
    # The manifest says that the training has finished: after the adapter, and before the checkpoint is gone.
    manifest.write(job.folder, candidate, {**plan.machine, "pass_tokens": state.budget})
    checkpoint.discard(job.folder)


def _require_learnt(plan: Plan, state: State) -> None:
    """Raises TrainingError for an adapter that did not change, or that diverged."""
    if adapters.weights_sha256(plan.model) == plan.began_as:
        raise TrainingError(
            f"the adapter did not change in {state.step} steps: this run learnt nothing",
            f"raise `learning_rate` or {what_ended(_came_to(plan, state))} under [training]",
        )
    if not (
        isfinite(state.history[-1]["loss"])
        and all(bool(weight.isfinite().all()) for weight in adapters.trainable(plan.model).values())
    ):
        raise TrainingError(f"loss or adapter is not finite after {state.step} steps: this run diverged", CALMER)


def _metrics(plan: Plan, state: State) -> dict[str, float]:
    """Final figures of a training and its alarms, which are logged."""
    ended = _came_to(plan, state)
    found = alarms(ended)
    for name, said in found.items():
        _LOG.warning("%s: %s", name, said)
    return ended | {f"alarm_{name}": 1.0 for name in found}


def _came_to(plan: Plan, state: State) -> dict[str, float]:
    """Final figures of a training, without alarms."""
    return {
        **manifest.last_quarter(state.history),
        "steps": state.step,
        "steps_planned": plan.wanted,
        "seconds": state.seconds,
        "skipped": state.skipped,
        "examples": len(plan.encoding.examples) - plan.left_out,
        "left_out": plan.left_out,
        "tokens": sum(plan.encoding.examples[index].size for step in plan.batches[: state.step] for index in step),
        "dropped": plan.encoding.dropped,
        "truncated": plan.encoding.truncated,
        "budget_hit": float(state.step < plan.wanted or plan.left_out > 0),
    }
