"""Metrics of a step, the check before the first one, and the running mean reward that the next one needs."""

from math import isnan

import torch
from torch import Tensor

from loop.errors import TrainingError
from loop.settings.constants import UNPAIRED_BETA
from loop.training.forward.logps import Scored
from loop.training.forward.rounding import rounding
from loop.training.objective import losses
from loop.training.objective.mixed import pairs, weighted_sum
from loop.training.objective.vectors import Batch

DELTA_MEMORY = 0.9
"""Share of the running mean reward that each batch leaves as it was."""
MOST_APART = 0.5
"""Largest share of answers that may differ from the reference: rounding moves a few far, a wrong reference all."""


def check_first(batch: Batch, scored: Scored, reference: Tensor, number: torch.dtype) -> None:
    """Check, before step 0, that policy and reference agree on most answers up to the rounding of their dtype.

    Raises TrainingError when they do not: DPO would not begin at ln 2.
    """
    compared = batch.drift_shares > 0
    if not compared.any():
        return
    # A few answers may differ by more: where nights have moved a champion far, some are so unlikely that bfloat16
    # rounds them by a nat.
    allowed = rounding(reference, batch.lengths, number)
    apart = ((scored.logp - reference).abs() > allowed)[compared]
    share = float(apart.double().mean())
    if share > MOST_APART:
        raise TrainingError(
            f"before the first step {share:.0%} of the answers do not have the reference's log-probability: "
            "it is not the one of the model that this training starts from",
            "clear `cache/reference` under the home folder and check that the champion's adapter is intact",
        )


def measure(batch: Batch, scored: Scored, reference: Tensor, parts: dict[str, Tensor], beta: float) -> dict[str, float]:
    """Metrics of a step; rewards are beta (logp - reference), the loss is as if examples weighed 1 on average.

    `beta` is that of pairs; unpaired answers have the beta of their losses.
    Metrics without examples in the batch are left out; the loss of a training that diverged is NaN.
    """
    # Of a ranking its best and its worst answer, like the answers of a pair.
    contested = torch.cat([batch.pairs, batch.rankings])
    chosen, rejected = batch.first[contested], batch.last[contested]
    judged = batch.first[batch.unpaired]
    rewards = beta * (scored.logp - reference)
    alone = UNPAIRED_BETA * (scored.logp - reference)[judged]
    approved = batch.sides[batch.unpaired] > 0
    # Only answers that were served: the estimate holds for what the champion drew, and edits, which it never drew,
    # would make e^d of it.
    served = batch.served
    drift = losses.token_kl(scored.logp[served], reference[served], batch.lengths[served])
    lead = rewards[chosen] - rewards[rejected]
    shorter = batch.lengths[chosen] < batch.lengths[rejected]
    measured = {
        "loss": weighted_sum(parts, batch) / batch.weights.sum(),
        "nll": scored.nll[batch.first][batch.nll_shares > 0].mean(),
        "pair_loss": parts["pair"][batch.pairs].mean(),
        "dpo_loss": losses.dpo(pairs(batch, scored, reference), beta).mean(),
        "ranking_loss": parts["ranking"][batch.rankings].mean(),
        "unpaired_loss": parts["unpaired"][batch.unpaired].mean(),
        "reward_chosen": rewards[chosen].mean(),
        "reward_rejected": rewards[rejected].mean(),
        "reward_margin": lead.mean(),
        "accuracy": (lead > 0).double().mean(),
        "accuracy_shorter": (lead[shorter] > 0).double().mean(),
        "reward_desirable": alone[approved].mean(),
        "reward_undesirable": alone[~approved].mean(),
        "chosen_logp_drift": (scored.logp - reference)[chosen].sum() / batch.lengths[chosen].sum(),
        "kl": drift.mean(),
    }
    # One transfer from the device instead of one for each metric. A mean over nothing is NaN.
    values = zip(measured, torch.stack(list(measured.values())).tolist(), strict=True)
    return {name: value for name, value in values if name == "loss" or not isnan(value)}


def next_delta(batch: Batch, scored: Scored, reference: Tensor, delta: float) -> float:
    """The running mean reward of unpaired examples after this batch, in which both classes count the same."""
    judged = batch.first[batch.unpaired]
    rewards = UNPAIRED_BETA * (scored.logp - reference)[judged]
    approved = batch.sides[batch.unpaired] > 0
    means = [rewards[chosen].mean() for chosen in (approved, ~approved) if chosen.any()]
    if not means:
        return delta
    return DELTA_MEMORY * delta + (1 - DELTA_MEMORY) * float(torch.stack(means).mean())
