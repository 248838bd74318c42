"""The preference losses: pure functions of log-probabilities per branch, blind to how `logps` computed them.

All tensors are vectors in float64: `logp` and `reference` are log pi(y|x) of whole answers in nats under the adapter
in training and under the champion. Each function returns one unweighted loss per example.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo(chosen: Tensor, rejected: Tensor, chosen_reference: Tensor, rejected_reference: Tensor, beta: float) -> Tensor:
    """Sigmoid DPO, -log sigmoid(beta [(chosen - chosen_ref) - (rejected - rejected_ref)]).

    ln 2 where policy and reference agree. Rafailov et al. 2023 (arXiv 2305.18290), equation 7.
    """
    return -logsigmoid(beta * ((chosen - chosen_reference) - (rejected - rejected_reference)))


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
