"""Mixed batches: the loss of each example from its answers' log-probabilities, and the metrics of a step."""

import torch
from torch import Tensor

from loop.settings import TrainingSettings
from loop.training.forward.logps import Scored
from loop.training.objective import losses
from loop.training.objective.vectors import Batch


def example_losses(
    batch: Batch, scored: Scored, reference: Tensor, delta: float, settings: TrainingSettings
) -> dict[str, Tensor]:
    """The loss of every example, [examples], in parts: `nll` (times its share), `pair` to `unpaired`, and `kl`."""
    pair = losses.of_pairs(pairs(batch, scored, reference), settings.pair)
    judged = batch.first[batch.unpaired]
    unpaired = losses.of_unpaired(
        scored.logp[judged], reference[judged], batch.sides[batch.unpaired], delta, settings.unpaired
    )
    rewards = losses.ranking_rewards(scored.logp, reference, batch.lengths, settings.pair)
    ranking = losses.plackett_luce(rewards[batch.ranked], batch.ranks)
    # The mean over an example's answers; the shares of demonstrations are 0, as they are not compared.
    drift = batch.drift_shares * losses.token_kl(scored.logp, reference, batch.lengths)
    zeros = torch.zeros_like(batch.weights)
    return {
        "nll": batch.nll_shares * scored.nll[batch.first],
        "pair": zeros.index_add(0, batch.pairs, pair),
        "ranking": zeros.index_add(0, batch.rankings, ranking),
        "unpaired": zeros.index_add(0, batch.unpaired, unpaired),
        "kl": settings.kl_coefficient * zeros.index_add(0, batch.owners, drift),
    }


def pairs(batch: Batch, scored: Scored, reference: Tensor) -> losses.Pairs:
    """Log-probabilities and lengths of the answers of the pairs of `batch`."""
    chosen = batch.first[batch.pairs]
    rejected = batch.last[batch.pairs]
    return losses.Pairs(
        chosen=scored.logp[chosen],
        rejected=scored.logp[rejected],
        chosen_reference=reference[chosen],
        rejected_reference=reference[rejected],
        chosen_tokens=batch.lengths[chosen],
        rejected_tokens=batch.lengths[rejected],
    )


def weighted_sum(parts: dict[str, Tensor], batch: Batch) -> Tensor:
    """Sum of the weighted losses of examples; over the number of examples of an optimiser batch it is the loss."""
    return (batch.weights * torch.stack(list(parts.values())).sum(0)).sum()
