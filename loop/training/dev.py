"""Early stopping: evals on the dev split every few steps; the adapter with the lowest loss there is kept."""

from collections.abc import Sequence
from dataclasses import replace
from math import fsum

import torch

from loop.settings import TrainingSettings
from loop.training.batch.tokens import Encoded
from loop.training.checkpoint import State
from loop.training.forward.logps import Scorer
from loop.training.objective.accumulate import weighted_loss
from loop.training.objective.reference import Reference


def is_due(state: State, steps: int, settings: TrainingSettings) -> bool:
    """Whether an eval is due after this step: every `look_every` steps and after the last one."""
    return settings.patience > 0 and (state.step % settings.look_every == 0 or state.step == steps)


def is_unseen(state: State, settings: TrainingSettings) -> bool:
    """Whether the step just taken has no eval; it is the last step when time is up."""
    return settings.patience > 0 and "dev_loss" not in state.history[-1]


def noted(state: State, loss: float) -> State:
    """`state` after an eval whose loss was `loss`."""
    if loss < state.best:
        return replace(state, best=loss, best_step=state.step, since=0)
    return replace(state, since=state.since + 1)


def has_enough(state: State, settings: TrainingSettings) -> bool:
    """Whether none of the last `patience` evals was better than the best before them."""
    return 0 < settings.patience <= state.since


@torch.no_grad()
def mean_loss(
    scorer: Scorer, champion: Reference, examples: Sequence[Encoded], state: State, settings: TrainingSettings
) -> float:
    """Mean loss of `examples` under the adapter as it is now, weighted like a batch."""
    sums = []
    # Passes of the size used in training, also after a resume: another size would round the losses differently.
    for group in scorer.passes(examples, state.budget):
        part = [examples[i] for i in group]
        loss, _ = weighted_loss(scorer, part, champion.logps(part, state.budget), state.delta, settings)
        sums.append(float(loss))
    return fsum(sums) / fsum(example.credit.weight for example in examples)
