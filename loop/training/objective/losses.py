"""The preference losses: pure functions of log-probabilities per branch, blind to how `logps` computed them.

All tensors are vectors in float64: log-probabilities of whole answers in nats, under the adapter in training and under
the champion. Each function returns one unweighted loss per example.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Pairs:
    """What a user preferred, and what they preferred it to."""

    chosen: Tensor
    rejected: Tensor
    chosen_reference: Tensor
    """Under the champion."""
    rejected_reference: Tensor
    chosen_tokens: Tensor
    """Of each chosen answer."""
    rejected_tokens: Tensor

    @property
    def margins(self) -> Tensor:
        """How much further than the champion the model prefers the chosen answer, in nats."""
        return (self.chosen - self.chosen_reference) - (self.rejected - self.rejected_reference)


def dpo(pairs: Pairs, beta: float) -> Tensor:
    """Sigmoid DPO, -log sigmoid(beta margin); ln 2 where policy and reference agree.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7.
    """
    return -logsigmoid(beta * pairs.margins)


def conservative(pairs: Pairs, beta: float, disagreement: float) -> Tensor:
    """DPO on labels of which a share e is wrong, (1 - e) L + e L', with L' the loss of the pair turned round.

    Smallest at a margin of log((1 - e) / e) / beta, beyond which it pulls back. Mitchell 2023, "A note on DPO with
    noisy preferences", equation 3.
    """
    turned = -logsigmoid(-beta * pairs.margins)
    return (1 - disagreement) * dpo(pairs, beta) + disagreement * turned


def robust(pairs: Pairs, beta: float, disagreement: float) -> Tensor:
    """DPO's loss on clean labels, estimated without bias where a share e < 1/2 is wrong, ((1 - e) L - e L') / (1 - 2e).

    Chowdhury et al. 2024 (arXiv 2403.00409), equation 12.
    """
    turned = -logsigmoid(-beta * pairs.margins)
    return ((1 - disagreement) * dpo(pairs, beta) - disagreement * turned) / (1 - 2 * disagreement)


def ipo(pairs: Pairs, beta: float) -> Tensor:
    """Identity preference optimisation, (margin - 1 / (2 beta))^2, with log-ratios as means over an answer's tokens.

    The margin has a goal, so labels that all agree do not drive it to infinity. Azar et al. 2023 (arXiv 2310.12036),
    equation 17; the means are the authors' own practice.
    """
    chosen = (pairs.chosen - pairs.chosen_reference) / pairs.chosen_tokens
    rejected = (pairs.rejected - pairs.rejected_reference) / pairs.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def apo_zero(pairs: Pairs, beta: float) -> Tensor:
    """Anchored preference optimisation, 1 - sigmoid(beta d_chosen) + sigmoid(beta d_rejected), d the log-ratios.

    For chosen answers that are better than the model's own: it raises them instead of only lowering the others.
    D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 7.
    """
    chosen = torch.sigmoid(beta * (pairs.chosen - pairs.chosen_reference))
    rejected = torch.sigmoid(beta * (pairs.rejected - pairs.rejected_reference))
    return 1 - chosen + rejected


def simpo(pairs: Pairs, beta: float, gap: float) -> Tensor:
    """Simple preference optimisation, -log sigmoid(beta (mean chosen - mean rejected) - gap); it asks no reference.

    Means over an answer's tokens; `gap` is the reward by which the chosen answer should lead. Meng et al. 2024
    (arXiv 2405.14734), equation 6.
    """
    means = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
    return -logsigmoid(beta * means - gap)


def bco(logp: Tensor, reference: Tensor, desirable: Tensor, delta: float, beta: float) -> Tensor:
    """Binary classifier optimisation, -log sigmoid(+-(r - delta)) with the reward r = beta (logp - reference).

    `delta` is the running mean reward, so that a drift common to both classes teaches nothing. Jung et al. 2024
    (arXiv 2404.04656), equations 11 and 12.
    """
    reward = beta * (logp - reference)
    return -logsigmoid(torch.where(desirable, reward - delta, delta - reward))


def kto(logp: Tensor, reference: Tensor, desirable: Tensor, delta: float, beta: float) -> Tensor:
    """Kahneman-Tversky optimisation, 1 - sigmoid(+-(r - z)) with r = beta (logp - reference), z = max(delta, 0).

    The reference point z = beta KL is the running mean reward of the batches before, not an extra forward pass on
    mismatched answers. Ethayarajh et al. 2024 (arXiv 2402.01306), equation 8.
    """
    reward = beta * (logp - reference)
    point = max(delta, 0.0)
    return 1 - torch.sigmoid(torch.where(desirable, reward - point, point - reward))


def token_kl(logp: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
    """Estimate k3 = exp(d) - 1 - d of the KL to the champion, d the mean token log-ratio, in nats per token.

    By convexity a lower bound of the mean over tokens. Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = (logp - reference) / lengths
    return torch.expm1(log_ratio) - log_ratio
