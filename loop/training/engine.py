"""Training loop: a job's examples and the champion's adapter in, optimiser steps out, a candidate on disk."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from math import inf, isfinite

from loop.errors import TrainingError
from loop.machine import Machine
from loop.memory import Memory
from loop.ports import Progress
from loop.settings.constants import AVERAGE_SHARE, MAX_GRAD_NORM
from loop.training import checkpoint, manifest, ranks
from loop.training.batch.packs import nodes
from loop.training.checkpoint import State
from loop.training.finish import LOWER_RATE, finish
from loop.training.job import Job, Step
from loop.training.objective import mixed
from loop.training.objective.accumulate import accumulate, clip
from loop.training.objective.metrics import check_first, measure, next_delta
from loop.training.plan import Plan, prepare
from loop.training.rate import behind, rate
from loop.training.size import announce
from loop.training.spikes import SPIKE, is_spike
from loop.training.weights import adapters
from loop.types import Candidate

_LOG = logging.getLogger(__name__)
LARGEST_SKIPPED_SHARE = 0.1
"""Largest share of skipped steps; one skipped step is always allowed."""


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
    steps = len(plan.schedule.batches)
    first, before, started = state.step, state.seconds, clock()
    # Seconds of a step are 0 until one was measured: the first step is always begun.
    saved = each = 0.0
    while state.step < steps and _seconds_left(job, state) > each:
        state = _step(plan, state)
        # The first process's clock counts for all, so that all stop after the same step.
        elapsed = ranks.everyones(clock() - started)[0]
        state = replace(state, seconds=before + elapsed)
        if elapsed - saved >= 60 * machine.checkpoint_minutes:
            _save(plan, state)
            saved = clock() - started
        each = elapsed / (state.step - first)
        eta = min(each * (steps - state.step), _seconds_left(job, state))
        yield Step(state.step, steps, state.seconds, eta, state.history[-1])
    if state.step < steps:
        _LOG.warning("`budget_minutes` ended the training after %d of %d steps", state.step, steps)
    plan.average.put_into(plan.model)
    finish(plan, state)


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
    share = behind(state.step, len(plan.schedule.batches), state.seconds, 60 * settings.budget_minutes)
    learning_rate = rate(share, settings.learning_rate)
    for group in plan.optimizer.param_groups:
        group["lr"] = learning_rate
    chosen = [plan.encoding.examples[index] for index in plan.schedule.batches[state.step]]
    done = accumulate(plan.scorer, plan.reference, chosen, state, settings)
    norm = clip(adapters.trainable(plan.model).values(), chosen, MAX_GRAD_NORM)
    parts = mixed.example_losses(done.batch, done.scored, done.reference, state.delta, settings)
    if state.step == 0:  # policy and reference are the same model only before the first update
        check_first(done.batch, done.scored, done.reference, plan.scorer.number)
    metrics = measure(done.batch, done.scored, done.reference, parts, settings.pair.beta)
    delta = next_delta(done.batch, done.scored, done.reference, state.delta)
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
        return _skipped(state, len(plan.schedule.batches))
    # After sound steps only: a value that is not finite would stay in the running mean reward.
    return replace(state, delta=delta)


def _skipped(state: State, steps: int) -> State:
    """State after a skipped step. Raises TrainingError when too many of all `steps` were skipped."""
    state = replace(state, skipped=state.skipped + 1)
    if state.skipped > max(1, LARGEST_SKIPPED_SHARE * steps):
        raise TrainingError(
            f"loss or gradient was not finite or {SPIKE:.0f} times the usual in {state.skipped} of {state.step} steps",
            LOWER_RATE,
        )
    return state


def _seconds_left(job: Job, state: State) -> float:
    """Seconds left of the wall-clock budget; infinite without one."""
    budget = 60 * job.settings.budget_minutes
    return max(0.0, budget - state.seconds) if budget else inf
