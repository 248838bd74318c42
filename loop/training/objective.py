"""Mixed batches: each example's loss from its answers' log-probabilities, and what a step reports of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan, log

import torch
from torch import Tensor

from loop.errors import TrainingError
from loop.settings import TrainingSettings
from loop.training import losses
from loop.training.logps import Scored
from loop.training.tokens import Encoded
from loop.types import Objective

DELTA_MEMORY = 0.9
"""Of the running mean reward, per batch."""
LARGEST_FIRST_GAP = 0.05
"""Between the first DPO loss and ln 2: rounding passes, a wrong reference does not."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Where each kind of example stands; indices of examples, and of first answers in the flat list of answers."""

    first: Tensor
    """First answer of each example."""
    pairs: Tensor
    unpaired: Tensor
    desirable: Tensor
    weights: Tensor
    nll_shares: Tensor
    lengths: Tensor
    """Tokens of each answer."""


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
    """The loss of every example, [examples], in parts: `nll` (times its share), `pair`, `unpaired` and `anchor`."""
    judged = batch.first[batch.unpaired]
    unpaired_loss: Callable[..., Tensor] = losses.kto if settings.unpaired_loss == "kto" else losses.bco
    unpaired = unpaired_loss(
        scored.logp[judged], reference[judged], batch.desirable[batch.unpaired], delta, settings.beta
    )
    zeros = torch.zeros_like(batch.weights)
    return {
        "nll": batch.nll_shares * scored.nll[batch.first],
        "pair": zeros.index_add(0, batch.pairs, _pair_loss(_pairs(batch, scored, reference), settings)),
        "unpaired": zeros.index_add(0, batch.unpaired, unpaired),
        "anchor": settings.anchor * _drift(batch, scored, reference),
    }


def _drift(batch: Batch, scored: Scored, reference: Tensor) -> Tensor:
    """How far each example's answers have come from the champion on average; 0 where nothing is compared."""
    kl = losses.token_kl(scored.logp, reference, batch.lengths)
    pairs, unpaired = batch.first[batch.pairs], batch.first[batch.unpaired]
    zeros = torch.zeros_like(batch.weights)
    return zeros.index_add(0, batch.pairs, (kl[pairs] + kl[pairs + 1]) / 2).index_add(0, batch.unpaired, kl[unpaired])


def _pairs(batch: Batch, scored: Scored, reference: Tensor) -> losses.Pairs:
    chosen = batch.first[batch.pairs]
    rejected = chosen + 1
    return losses.Pairs(
        chosen=scored.logp[chosen],
        rejected=scored.logp[rejected],
        chosen_reference=reference[chosen],
        rejected_reference=reference[rejected],
        chosen_tokens=batch.lengths[chosen],
        rejected_tokens=batch.lengths[rejected],
    )


def _pair_loss(pairs: losses.Pairs, settings: TrainingSettings) -> Tensor:
    match settings.pair_loss:
        case "dpo":
            return losses.dpo(pairs, settings.beta)
        case "conservative":
            return losses.conservative(pairs, settings.beta, settings.disagreement)
        case "robust":
            return losses.robust(pairs, settings.beta, settings.disagreement)
        case "ipo":
            return losses.ipo(pairs, settings.beta)
        case "apo_zero":
            return losses.apo_zero(pairs, settings.beta)
        case "simpo":
            return losses.simpo(pairs, settings.beta, settings.simpo_gap)


def weighted_sum(parts: dict[str, Tensor], batch: Batch) -> Tensor:
    """Sum of weighted example losses; divided by the number of examples of the optimiser batch it is the loss."""
    return (batch.weights * torch.stack([*parts.values()]).sum(0)).sum()


def next_delta(batch: Batch, scored: Scored, reference: Tensor, delta: float, beta: float) -> float:
    """The running mean reward of unpaired examples, both classes counting the same, after this batch."""
    judged = batch.first[batch.unpaired]
    rewards = beta * (scored.logp - reference)[judged]
    desirable = batch.desirable[batch.unpaired]
    means = [rewards[chosen].mean() for chosen in (desirable, ~desirable) if chosen.any()]
    if not means:
        return delta
    return DELTA_MEMORY * delta + (1 - DELTA_MEMORY) * float(torch.stack(means).mean())


def check_first(batch: Batch, scored: Scored, reference: Tensor, beta: float) -> None:
    """Before step 0 policy and reference agree, so DPO must be ln 2. Raises TrainingError when it is not."""
    if not len(batch.pairs):
        return
    loss = float(losses.dpo(_pairs(batch, scored, reference), beta).mean())
    if abs(loss - log(2)) > LARGEST_FIRST_GAP:
        raise TrainingError(
            f"the first DPO loss is {loss:.3f}, not ln 2 = 0.693: the reference is not what this training starts from",
            "clear `cache/reference` under the home folder and check that the champion's adapter is intact",
        )


def measure(batch: Batch, scored: Scored, reference: Tensor, parts: dict[str, Tensor], beta: float) -> dict[str, float]:
    """What a step reports; rewards are beta (logp - reference), the loss is as if examples weighed 1 on average.

    Names without examples in the batch are left out; the loss of a training that diverged is NaN.
    """
    chosen = batch.first[batch.pairs]
    judged = batch.first[batch.unpaired]
    rewards = beta * (scored.logp - reference)
    desirable = batch.desirable[batch.unpaired]
    # Answers that were served: the estimate holds for what the champion drew, and edits would make e^d of it.
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
        "reward_desirable": rewards[judged][desirable].mean(),
        "reward_undesirable": rewards[judged][~desirable].mean(),
        "chosen_logp_drift": (scored.logp - reference)[chosen].sum() / batch.lengths[chosen].sum(),
        "kl": drift.mean(),
    }
    values = zip(measured, torch.stack([*measured.values()]).tolist(), strict=True)
    return {name: value for name, value in values if name == "loss" or not isnan(value)}


def _where(examples: Sequence[Encoded], objective: Objective, device: torch.device) -> Tensor:
    found = [index for index, example in enumerate(examples) if example.objective is objective]
    return torch.tensor(found, dtype=torch.long, device=device)
