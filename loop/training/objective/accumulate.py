"""Gradient of one optimiser batch, accumulated pass by pass and over all processes of a training."""

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
from loop.training.objective.vectors import Batch, gather


@dataclass(frozen=True, slots=True)
class Accumulated:
    """A batch after its gradient was added to the parameters, the same in every process."""

    batch: Batch
    """Its examples, in the order of the scores."""
    scored: Scored
    reference: Tensor
    """Log-probabilities under the champion, float64 [answers]."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """A pass that one process computed, as lists that the others can receive."""

    group: list[int]
    """Indices of its examples in the batch."""
    logp: list[float]
    nll: list[float]
    reference: list[tuple[float, ...]]
    """The champion's log-probabilities of each example."""


def accumulate(
    scorer: Scorer, champion: Reference, batch: Sequence[Encoded], state: State, settings: TrainingSettings
) -> Accumulated:
    """Add the gradient of the mean loss of `batch` to the adapter's gradient."""
    # Several processes take smaller passes, so that each of them has one.
    budget = state.budget if ranks.count() == 1 else min(state.budget, ceil(scorer.size(batch) / ranks.count()))
    groups = scorer.passes(batch, budget)
    costs = []
    for group in groups:
        examples = [batch[i] for i in group]
        costs.append(scorer.size(examples))
    mine = ranks.share(groups, costs)
    # Fillers are the cheapest pass there is.
    smallest = min(range(len(batch)), key=lambda index: batch[index].size)
    turns = ranks.turns(mine, [smallest], together=scorer.sharded)
    asked = [batch[i] for group, _ in turns for i in group]
    # In one call for all turns, since processes have to ask equally often; the answers come in the order of the turns.
    known = iter(champion.logps(asked, state.budget))
    taken = []
    for group, counts in turns:
        reference = [next(known) for _ in group]
        loss, scored = weighted_loss(scorer, [batch[i] for i in group], reference, state.delta, settings)
        # Divided by the number of examples, not by their weight: a batch of one conversation, all of it approved or all
        # of it not, keeps its class's weight. A filler takes part in the backward and adds nothing.
        torch.autograd.backward(loss / len(batch) if counts else 0 * loss)
        if counts:
            taken.append(_Pass(group, scored.logp.tolist(), scored.nll.tolist(), reference))
    ranks.add_gradients(parameter for parameter in scorer.model.parameters() if parameter.requires_grad)
    return _together(batch, list(chain.from_iterable(ranks.everyones(taken))), scorer.model.device)


def clip(parameters: Iterable[nn.Parameter], batch: Sequence[Encoded], largest: float) -> float:
    """Clip the gradient of `batch` to the norm `largest`, unless that is 0, and return the norm before.

    Both norms are those of a batch whose examples weigh 1 on average.
    """
    # So a batch keeps its weight: cut to one length, two conversations that users disapproved of would outweigh one
    # that they approved of and that counts twice.
    weight = fmean(example.credit.weight for example in batch)
    return float(clip_grad_norm_(parameters, weight * largest or inf)) / weight


def weighted_loss(
    scorer: Scorer,
    examples: Sequence[Encoded],
    reference: Iterable[Sequence[float]],
    delta: float,
    settings: TrainingSettings,
) -> tuple[Tensor, Scored]:
    """Sum of the weighted losses of `examples` in one forward pass, and the scores of their answers in it.

    `reference` holds the champion's log-probabilities of each example's answers, `delta` is the running mean reward.
    """
    scored = score(scorer, examples)
    batch = gather(examples, scored.logp.device)
    flat = scored.logp.new_tensor(list(chain.from_iterable(reference)))  # [answers], like the scores
    parts = mixed.example_losses(batch, scored, flat, delta, settings)
    return mixed.weighted_sum(parts, batch), scored


def _together(batch: Sequence[Encoded], taken: Sequence[_Pass], device: torch.device) -> Accumulated:
    """The batch with the scores of all passes, whichever process computed them, in the order of `taken`."""

    def vector(lists: Iterable[Sequence[float]]) -> Tensor:
        return torch.tensor(list(chain.from_iterable(lists)), dtype=torch.float64, device=device)

    return Accumulated(
        batch=gather([batch[i] for each in taken for i in each.group], device),
        scored=Scored(vector(each.logp for each in taken), vector(each.nll for each in taken)),
        reference=vector(logps for each in taken for logps in each.reference),
    )
