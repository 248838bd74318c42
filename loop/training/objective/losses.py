"""Preference losses: pure functions of log-probabilities per branch, independent of how `logps` computed them.

All tensors are vectors in float64, and of rankings matrices: log-probabilities of whole answers in nats, under the
adapter in training and under the champion. Each function returns one unweighted loss per example.
"""

from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from loop.settings import PairSettings, UnpairedSettings
from loop.settings.constants import DISAGREEMENT, SIMPO_GAP, UNPAIRED_BETA


@dataclass(frozen=True, slots=True)
class Pairs:
    """Preference pairs: the answers that users preferred (chosen) and the answers below them (rejected)."""

    chosen: Tensor
    """Log-probability of each chosen answer."""
    rejected: Tensor
    chosen_reference: Tensor
    """Log-probability of each chosen answer under the champion."""
    rejected_reference: Tensor
    chosen_tokens: Tensor
    """Length in tokens of each chosen answer."""
    rejected_tokens: Tensor

    @property
    def margins(self) -> Tensor:
        """Log-ratio of the chosen answer less that of the rejected one, in nats; 0 at the champion."""
        return (self.chosen - self.chosen_reference) - (self.rejected - self.rejected_reference)


def of_pairs(pairs: Pairs, settings: PairSettings) -> Tensor:
    """Loss of each pair by the loss that the settings name."""
    match settings.type:
        case "dpo":
            return dpo(pairs, settings.beta)
        case "conservative":
            return conservative(pairs, settings.beta, DISAGREEMENT)
        case "robust":
            return robust(pairs, settings.beta, DISAGREEMENT)
        case "ipo":
            return ipo(pairs, settings.beta)
        case "apo_zero":
            return apo_zero(pairs, settings.beta)
        case "simpo":
            return simpo(pairs, settings.beta, SIMPO_GAP)


def ranking_rewards(logp: Tensor, reference: Tensor, lengths: Tensor, settings: PairSettings) -> Tensor:
    """Reward of each answer for `plackett_luce`, on the scale on which `beta` is set for the loss of pairs."""
    match settings.type:
        case "dpo" | "conservative" | "robust" | "ipo" | "apo_zero":
            return settings.beta * (logp - reference)
        case "simpo":
            return settings.beta * logp / lengths


def of_unpaired(logp: Tensor, reference: Tensor, sides: Tensor, delta: float, settings: UnpairedSettings) -> Tensor:
    """Loss of each unpaired answer by the loss that the settings name; arguments as in `bco`."""
    match settings.type:
        case "bco":
            return bco(logp, reference, sides, delta, UNPAIRED_BETA)
        case "kto":
            return kto(logp, reference, sides, delta, UNPAIRED_BETA)


def dpo(pairs: Pairs, beta: float) -> Tensor:
    """Sigmoid DPO, -log sigmoid(beta margin); ln 2 where policy and reference agree.

    Rafailov et al. 2023 (arXiv 2305.18290), equation 7.
    """
    return -logsigmoid(beta * pairs.margins)


def conservative(pairs: Pairs, beta: float, disagreement: float) -> Tensor:
    """DPO on labels of which a share e is wrong, (1 - e) L + e L', with L' the loss of the swapped pair.

    Its minimum is at a margin of log((1 - e) / e) / beta, beyond which it pulls back. Mitchell 2023, "A note on DPO
    with noisy preferences", equation 3.
    """
    turned = -logsigmoid(-beta * pairs.margins)
    return (1 - disagreement) * dpo(pairs, beta) + disagreement * turned


def robust(pairs: Pairs, beta: float, disagreement: float) -> Tensor:
    """Unbiased estimate of DPO on right labels where a share e < 1/2 is wrong: ((1 - e) L - e L') / (1 - 2e).

    Chowdhury et al. 2024 (arXiv 2403.00409), equation 12.
    """
    turned = -logsigmoid(-beta * pairs.margins)
    return ((1 - disagreement) * dpo(pairs, beta) - disagreement * turned) / (1 - 2 * disagreement)


def ipo(pairs: Pairs, beta: float) -> Tensor:
    """Identity preference optimisation, (margin - 1 / (2 beta))^2, with log-ratios as means over an answer's tokens.

    Azar et al. 2023 (arXiv 2310.12036), equation 17; the means are the authors' own practice.
    """
    # The margin has a target, so labels that all agree do not drive it to infinity.
    chosen = (pairs.chosen - pairs.chosen_reference) / pairs.chosen_tokens
    rejected = (pairs.rejected - pairs.rejected_reference) / pairs.rejected_tokens
    return (chosen - rejected - 1 / (2 * beta)) ** 2


def apo_zero(pairs: Pairs, beta: float) -> Tensor:
    """Anchored preference optimisation, 1 - sigmoid(beta d_chosen) + sigmoid(beta d_rejected), d the log-ratios.

    For chosen answers that are better than the model's own. D'Oosterlinck et al. 2024 (arXiv 2408.06266), equation 7.
    """
    # Each answer has a term of its own: the chosen one is raised, where DPO may only lower the rejected one.
    chosen = torch.sigmoid(beta * (pairs.chosen - pairs.chosen_reference))
    rejected = torch.sigmoid(beta * (pairs.rejected - pairs.rejected_reference))
    return 1 - chosen + rejected


def simpo(pairs: Pairs, beta: float, gap: float) -> Tensor:
    """Simple preference optimisation, -log sigmoid(beta (mean chosen - mean rejected) - gap), without a reference.

    Means are over an answer's tokens; `gap` is the reward by which the chosen answer should lead. Meng et al. 2024
    (arXiv 2405.14734), equation 6.
    """
    means = pairs.chosen / pairs.chosen_tokens - pairs.rejected / pairs.rejected_tokens
    return -logsigmoid(beta * means - gap)


def plackett_luce(rewards: Tensor, scores: Tensor) -> Tensor:
    """Plackett-Luce loss of rankings, the sum over answers i of log(exp r_i + sum of exp r_j over all worse j) - r_i.

    Both are [rankings, answers]; `scores` says who is worse, NaN where a ranking has fewer answers. Each answer is
    chosen from itself and those below it; with the rewards r = beta (logp - reference) that is `dpo` of two answers.
    Rafailov et al. 2023 (arXiv 2305.18290), appendix A.3, equation 20.
    """
    # Answers of one score are not compared: neither is among the other's rivals. No comparison with NaN is true, so
    # that a missing answer is chosen from itself alone, at a loss of 0.
    worse = scores[:, None, :] < scores[:, :, None]  # [rankings, chosen, rival]
    itself = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    rivals = torch.where(worse | itself, rewards[:, None, :], -inf)
    return (rivals.logsumexp(-1) - rewards).sum(-1)


def bco(logp: Tensor, reference: Tensor, sides: Tensor, delta: float, beta: float) -> Tensor:
    """Binary classifier optimisation, -log sigmoid(s (r - delta)) with the reward r = beta (logp - reference).

    s is 1 for an approved answer and -1 for another, `delta` the running mean reward. Jung et al. 2024 (arXiv
    2404.04656), equations 11 and 12.
    """
    reward = beta * (logp - reference)
    # Less the mean reward, so that a drift common to both classes teaches nothing.
    return -logsigmoid(sides * (reward - delta))


def kto(logp: Tensor, reference: Tensor, sides: Tensor, delta: float, beta: float) -> Tensor:
    """Kahneman-Tversky optimisation, 1 - sigmoid(s (r - z)) with r = beta (logp - reference), z = max(delta, 0).

    s is 1 for an approved answer and -1 for another. Ethayarajh et al. 2024 (arXiv 2402.01306), equation 8.
    """
    reward = beta * (logp - reference)
    # The paper's z = beta KL comes from mismatched answers, a forward pass more; here it is the mean reward of the
    # batches before. Like a KL it is never negative.
    point = max(delta, 0.0)
    return 1 - torch.sigmoid(sides * (reward - point))


def token_kl(logp: Tensor, reference: Tensor, lengths: Tensor) -> Tensor:
    """Estimate k3 = exp(d) - 1 - d of the KL to the champion in nats per token, d the mean log-ratio of the tokens.

    By convexity it is a lower bound of the mean of k3 over tokens. Schulman 2020, "Approximating KL divergence".
    """
    log_ratio = (logp - reference) / lengths
    # expm1 keeps the digits that exp(d) - 1 would lose near the champion, where d is small.
    return torch.expm1(log_ratio) - log_ratio
