"""Size of a training and its expected duration, announced before the first step. Neither decides anything."""

import logging
import time
from math import ceil
from statistics import fmean

import torch

from loop.ports import Progress
from loop.training import ranks
from loop.training.batch.packs import cost
from loop.training.checkpoint import State
from loop.training.forward.logps import FULL, score
from loop.training.plan import Plan

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.INFO)  # who starts a night by hand wants to know how long it takes, without --verbose
PASS_OVER_FORWARD = 4.2
"""Time of a step over the time of its forward passes; it adds the backward through frozen weights and, in the first
epoch, the champion's pass (SmolLM2-135M: 4.5 in one epoch, less in two)."""
TRIED_STEPS = 4
"""Steps, spread over the training, whose passes are laid out for the estimate, or up to three more."""


def announce(plan: Plan, state: State, progress: Progress) -> None:
    """Log the examples, steps and tokens that `plan` has left from `state` on, and about how long they take here.

    The log also names the examples and steps that a budget of tokens leaves out.
    """
    chosen = plan.schedule.batches[state.step :]
    minutes = ceil(_seconds(plan, chosen, state.budget) / 60)
    tokens = sum(plan.encoding.examples[index].size for step in chosen for index in step)
    examples = len({index for step in chosen for index in step})
    said = (
        f"{examples:,} examples, {len(chosen):,} steps, {tokens:,} tokens; "
        f"about {minutes} minute{'' if minutes == 1 else 's'} on this machine"
    )
    _LOG.info("training: %s", said)
    progress("train", state.step, len(plan.schedule.batches), said)
    if plan.schedule.left_out or len(plan.schedule.batches) < plan.schedule.wanted:
        _LOG.warning(
            "`budget_tokens` leaves out the %s oldest examples, and %s of %s steps in all",
            f"{plan.schedule.left_out:,}",
            f"{plan.schedule.wanted - len(plan.schedule.batches):,}",
            f"{plan.schedule.wanted:,}",
        )


def _seconds(plan: Plan, chosen: list[list[int]], budget: int) -> float:
    """Expected seconds of the steps `chosen`: one timed forward pass over an example, scaled by the cost of passes."""
    if not chosen:
        return 0.0
    examples = plan.encoding.examples
    probe = sorted(examples, key=lambda example: example.size)[len(examples) // 2]
    full = FULL[plan.scorer.model.device.type]
    elapsed = 0.0
    for _ in range(2):  # the first pass of its shape may have to be prepared
        began = time.monotonic()
        with torch.no_grad():
            # On a GPU only reading the result waits until it has been computed.
            score(plan.scorer, [probe]).logp.tolist()
        elapsed = time.monotonic() - began
    costs = []
    for step in chosen[:: max(1, len(chosen) // TRIED_STEPS)]:
        batch = [examples[index] for index in step]
        total = 0
        for group in plan.scorer.passes(batch, budget):
            size = plan.scorer.size([batch[index] for index in group])
            total += cost(size, full)
        costs.append(total)
    of_probe = cost(plan.scorer.size([probe]), full)
    return PASS_OVER_FORWARD * elapsed * fmean(costs) / of_probe * len(chosen) / ranks.count()
