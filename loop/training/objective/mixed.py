"""Mixed batches: the loss of each example from its answers' log-probabilities, and the metrics of a step."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Literal

import torch
from torch import Tensor

from loop.errors import TrainingError
from loop.settings import PairSettings, TrainingSettings
from loop.settings.constants import DISAGREEMENT, SIMPO_GAP, UNPAIRED_BETA
from loop.training.batch.tokens import Encoded
from loop.training.forward.logps import Scored, rounding
from loop.training.objective import losses
from loop.types import Objective

DELTA_MEMORY = 0.9
"""Share of the running mean reward that each batch leaves as it was."""
_UNPAIRED: Mapping[Literal["bco", "kto"], Callable[..., Tensor]] = {"bco": losses.bco, "kto": losses.kto}
MOST_APART = 0.5
"""Largest share of answers that may differ from the reference: rounding moves a few far, a wrong reference all."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as index and weight vectors, by which losses pick examples and answers of their kind."""

    first: Tensor
    """Index of each example's first answer in the flat list of answers."""
    pairs: Tensor
    """Indices of the examples that are pairs."""
    unpaired: Tensor
    """Indices of the unpaired examples."""
    desirable: Tensor
    weights: Tensor
    nll_shares: Tensor
    lengths: Tensor
    """Length in tokens of each answer."""


def gather(examples: Sequence[Encoded], device: torch.device) -> Batch:
    """`examples` as index and weight vectors."""
    firsts, answers = [], 0
    for example in examples:
        firsts.append(answers)
        answers += len(example.answers)
    return Batch(
        first=torch.tensor(firsts, device=device),
        pairs=_where(examples, Objective.PAIR, device),
        unpaired=_where(examples, Objective.UNPAIRED, device),
        desirable=torch.tensor([e.desirable for e in examples], device=device),
        weights=torch.tensor([e.weight for e in examples], dtype=torch.float64, device=device),
        nll_shares=torch.tensor([e.nll_share for e in examples], dtype=torch.float64, device=device),
        lengths=torch.tensor([len(a.ids) for e in examples for a in e.answers], device=device),
    )


def example_losses(
    batch: Batch, scored: Scored, reference: Tensor, delta: float, settings: TrainingSettings
) -> dict[str, Tensor]:
    """The loss of every example, [examples], in parts: `nll` (times its share), `pair`, `unpaired` and `kl`."""
    judged = batch.first[batch.unpaired]
    unpaired_loss = _UNPAIRED[settings.unpaired.type]
    unpaired = unpaired_loss(
        scored.logp[judged], reference[judged], batch.desirable[batch.unpaired], delta, UNPAIRED_BETA
    )
    zeros = torch.zeros_like(batch.weights)
    return {
        "nll": batch.nll_shares * scored.nll[batch.first],
        "pair": zeros.index_add(0, batch.pairs, _pair_loss(_pairs(batch, scored, reference), settings.pair)),
        "unpaired": zeros.index_add(0, batch.unpaired, unpaired),
        "kl": settings.kl_coefficient * _drift(batch, scored, reference),
    }


def _drift(batch: Batch, scored: Scored, reference: Tensor) -> Tensor:
    """Mean KL estimate of each example's answers to the champion; 0 for demonstrations."""
    kl = losses.token_kl(scored.logp, reference, batch.lengths)
    pairs, unpaired = batch.first[batch.pairs], batch.first[batch.unpaired]
    zeros = torch.zeros_like(batch.weights)
    return zeros.index_add(0, batch.pairs, (kl[pairs] + kl[pairs + 1]) / 2).index_add(0, batch.unpaired, kl[unpaired])


def _pairs(batch: Batch, scored: Scored, reference: Tensor) -> losses.Pairs:
    chosen = batch.first[batch.pairs]
    rejected = chosen + 1  # the better answer of a pair is its first branch
    return losses.Pairs(
        chosen=scored.logp[chosen],
        rejected=scored.logp[rejected],
        chosen_reference=reference[chosen],
        rejected_reference=reference[rejected],
        chosen_tokens=batch.lengths[chosen],
        rejected_tokens=batch.lengths[rejected],
    )


def _pair_loss(pairs: losses.Pairs, settings: PairSettings) -> Tensor:
    match settings.type:
        case "dpo":
            return losses.dpo(pairs, settings.beta)
        case "conservative":
            return losses.conservative(pairs, settings.beta, DISAGREEMENT)
        case "robust":
            return losses.robust(pairs, settings.beta, DISAGREEMENT)
        case "ipo":
            return losses.ipo(pairs, settings.beta)
        case "apo_zero":
            return losses.apo_zero(pairs, settings.beta)
        case "simpo":
            return losses.simpo(pairs, settings.beta, SIMPO_GAP)


def weighted_sum(parts: dict[str, Tensor], batch: Batch) -> Tensor:
    """Sum of the weighted losses of examples; over the number of examples of an optimiser batch it is the loss."""
    return (batch.weights * torch.stack(list(parts.values())).sum(0)).sum()


def next_delta(batch: Batch, scored: Scored, reference: Tensor, delta: float) -> float:
    """The running mean reward of unpaired examples after this batch, in which both classes count the same."""
    judged = batch.first[batch.unpaired]
    rewards = UNPAIRED_BETA * (scored.logp - reference)[judged]
    desirable = batch.desirable[batch.unpaired]
    means = [rewards[chosen].mean() for chosen in (desirable, ~desirable) if chosen.any()]
    if not means:
        return delta
    return DELTA_MEMORY * delta + (1 - DELTA_MEMORY) * float(torch.stack(means).mean())


def check_first(batch: Batch, scored: Scored, reference: Tensor, number: torch.dtype) -> None:
    """Check, before step 0, that policy and reference agree on most answers up to the rounding of their dtype.

    Raises TrainingError when they do not: DPO would not begin at ln 2.
    """
    chosen = batch.first[batch.pairs]
    compared = torch.cat([chosen, chosen + 1, batch.first[batch.unpaired]])
    if not len(compared):
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
    chosen = batch.first[batch.pairs]
    judged = batch.first[batch.unpaired]
    rewards = beta * (scored.logp - reference)
    alone = UNPAIRED_BETA * (scored.logp - reference)[judged]
    desirable = batch.desirable[batch.unpaired]
    # Only answers that were served: the estimate holds for what the champion drew, and edits, which it never drew,
    # would make e^d of it.
    compared = torch.cat([chosen + 1, judged])
    drift = losses.token_kl(scored.logp[compared], reference[compared], batch.lengths[compared])
    lead = rewards[chosen] - rewards[chosen + 1]
    shorter = batch.lengths[chosen] < batch.lengths[chosen + 1]
    measured = {
        "loss": weighted_sum(parts, batch) / batch.weights.sum(),
        "nll": scored.nll[batch.first][batch.nll_shares > 0].mean(),
        "pair_loss": parts["pair"][batch.pairs].mean(),
        "dpo_loss": losses.dpo(_pairs(batch, scored, reference), beta).mean(),
        "unpaired_loss": parts["unpaired"][batch.unpaired].mean(),
        "reward_chosen": rewards[chosen].mean(),
        "reward_rejected": rewards[chosen + 1].mean(),
        "reward_margin": lead.mean(),
        "accuracy": (lead > 0).double().mean(),
        "accuracy_shorter": (lead[shorter] > 0).double().mean(),
        "reward_desirable": alone[desirable].mean(),
        "reward_undesirable": alone[~desirable].mean(),
        "chosen_logp_drift": (scored.logp - reference)[chosen].sum() / batch.lengths[chosen].sum(),
        "kl": drift.mean(),
    }
    # One transfer from the device instead of one for each metric. A mean over nothing is NaN.
    values = zip(measured, torch.stack(list(measured.values())).tolist(), strict=True)
    return {name: value for name, value in values if name == "loss" or not isnan(value)}


def _where(examples: Sequence[Encoded], objective: Objective, device: torch.device) -> Tensor:
    """Indices of the examples with this objective; of type long also where there are none, since they index."""
    found = [index for index, example in enumerate(examples) if example.objective is objective]
    return torch.tensor(found, dtype=torch.long, device=device)
