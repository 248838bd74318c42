"""The gradient of one optimiser batch, pass by pass and over all processes of a training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import ceil, inf
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from loop.settings import TrainingSettings
from loop.training import ranks
from loop.training.batch.tokens import Encoded
from loop.training.checkpoint import State
from loop.training.forward.logps import Scored, Scorer, score
from loop.training.objective import mixed
from loop.training.objective.reference import Reference


@dataclass(frozen=True, slots=True)
class Accumulated:
    """A batch whose gradient stands in the parameters, the same in every process."""

    examples: list[Encoded]
    """In the order of the scores."""
    scored: Scored
    reference: Tensor
    """Log-probabilities under the champion, float64 [answers]."""


@dataclass(frozen=True, slots=True)
class _Pass:
    group: list[int]
    logp: list[float]
    nll: list[float]
    reference: list[tuple[float, ...]]
    """Of each example."""


def accumulate(
    scorer: Scorer, champion: Reference, batch: Sequence[Encoded], state: State, settings: TrainingSettings
) -> Accumulated:
    """Add the gradient of the mean loss of `batch` to the adapter's.

    A mean over examples, not over weights: a batch of one conversation, all of it approved or all of it not, keeps its
    class's weight.
    """
    budget = state.budget if ranks.count() == 1 else min(state.budget, ceil(scorer.size(batch) / ranks.count()))
    groups = scorer.passes(batch, budget)
    mine = ranks.share(groups, [scorer.size([batch[i] for i in group]) for group in groups])
    smallest = min(range(len(batch)), key=lambda index: batch[index].size)
    turns = ranks.turns(mine, [smallest], together=scorer.sharded)
    known = iter(champion.logps([batch[i] for group, _ in turns for i in group], state.budget))
    taken = []
    for group, counts in turns:
        reference = [next(known) for _ in group]
        loss, scored = weighted_loss(scorer, [batch[i] for i in group], reference, state.delta, settings)
        torch.autograd.backward(loss / len(batch) if counts else 0 * loss)
        if counts:
            taken.append(_Pass(group, scored.logp.tolist(), scored.nll.tolist(), reference))
    ranks.add_gradients(parameter for parameter in scorer.model.parameters() if parameter.requires_grad)
    return _together(batch, [*chain.from_iterable(ranks.everyones(taken))], scorer.model.device)


def clip(parameters: Iterable[nn.Parameter], batch: Sequence[Encoded], largest: float) -> float:
    """Shorten the gradient of `batch` to `largest`, unless 0, and return its norm before, both for weights of 1.

    So a batch keeps its weight: cut to one length, two conversations that users disapproved of would outweigh one that
    they approved of and that counts twice.
    """
    weight = fmean(example.weight for example in batch)
    return float(clip_grad_norm_(parameters, weight * largest or inf)) / weight


def weighted_loss(
    scorer: Scorer,
    examples: Sequence[Encoded],
    reference: Iterable[Sequence[float]],
    delta: float,
    settings: TrainingSettings,
) -> tuple[Tensor, Scored]:
    """The weighted losses' sum of `examples` in one forward pass, and what their answers scored in it.

    `reference` are the champion's log-probabilities of each example, `delta` the running mean reward.
    """
    scored = score(scorer, examples)
    batch = mixed.gather(examples, scored.logp.device)
    flat = scored.logp.new_tensor([*chain.from_iterable(reference)])
    parts = mixed.example_losses(batch, scored, flat, delta, settings)
    return mixed.weighted_sum(parts, batch), scored


def _together(batch: Sequence[Encoded], taken: Sequence[_Pass], device: torch.device) -> Accumulated:
    def vector(lists: Iterable[Sequence[float]]) -> Tensor:
        return torch.tensor([*chain.from_iterable(lists)], dtype=torch.float64, device=device)

    return Accumulated(
        examples=[batch[i] for each in taken for i in each.group],
        scored=Scored(vector(each.logp for each in taken), vector(each.nll for each in taken)),
        reference=vector(logps for each in taken for logps in each.reference),
    )
