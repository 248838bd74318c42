"""Vectors of a batch: indices, sides and weights, by which losses pick the answers that they compare."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from typing import assert_never

import torch
from torch import Tensor

from loop.training.batch.tokens import Encoded
from loop.types import Objective


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of examples, whose answers stand in one flat list."""

    first: Tensor
    """Index of each example's first answer, its best."""
    last: Tensor
    """Index of each example's last answer, its worst."""
    pairs: Tensor
    """Indices of the examples that are pairs."""
    rankings: Tensor
    """Indices of the examples that are rankings."""
    unpaired: Tensor
    """Indices of the unpaired examples."""
    ranked: Tensor
    """Indices of the answers of each ranking [rankings, answers], padded with its first one."""
    ranks: Tensor
    """Scores of those answers, NaN for padding."""
    sides: Tensor
    """1 where an example's first answer is approved, else -1."""
    weights: Tensor
    nll_shares: Tensor
    lengths: Tensor
    """Length in tokens of each answer."""
    owners: Tensor
    """Index of each answer's example."""
    drift_shares: Tensor
    """Share of each answer in its example's drift from the champion; 0 for demonstrations."""
    served: Tensor
    """Indices of the compared answers that the application gave; the better one of a pair may be an edit."""


def gather(examples: Sequence[Encoded], device: torch.device) -> Batch:
    """`examples` as vectors on `device`."""

    def reals(values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float64, device=device)

    def indices(values: Iterable[int]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.long, device=device)

    places = _places(examples)
    served, shares = _served(examples, places)
    rankings = _where(examples, Objective.RANKING)
    widest = max((len(places[index]) for index in rankings), default=1)
    ranked: list[int] = []
    ranks: list[float] = []
    for index in rankings:
        missing = widest - len(places[index])
        ranked += list(places[index]) + missing * [places[index][0]]
        ranks += list(examples[index].credit.scores) + missing * [nan]
    return Batch(
        first=indices(place[0] for place in places),
        last=indices(place[-1] for place in places),
        pairs=indices(_where(examples, Objective.PAIR)),
        rankings=indices(rankings),
        unpaired=indices(_where(examples, Objective.UNPAIRED)),
        ranked=indices(ranked).view(-1, widest),
        ranks=reals(ranks).view(-1, widest),
        sides=reals(1.0 if example.credit.approved else -1.0 for example in examples),
        weights=reals(example.credit.weight for example in examples),
        nll_shares=reals(example.credit.nll_share for example in examples),
        lengths=indices(len(answer.ids) for example in examples for answer in example.answers),
        owners=indices(index for index, place in enumerate(places) for _ in place),
        drift_shares=reals(shares),
        served=indices(served),
    )


def _places(examples: Sequence[Encoded]) -> list[range]:
    """Indices of the answers of each example."""
    places: list[range] = []
    start = 0
    for example in examples:
        places.append(range(start, start + len(example.answers)))
        start += len(example.answers)
    return places


def _where(examples: Sequence[Encoded], objective: Objective) -> list[int]:
    """Indices of the examples with this objective."""
    return [index for index, example in enumerate(examples) if example.credit.objective is objective]


def _served(examples: Sequence[Encoded], places: Sequence[range]) -> tuple[list[int], list[float]]:
    """The fields `served` and `drift_shares` of a batch."""
    served: list[int] = []
    shares: list[float] = []
    for example, place in zip(examples, places, strict=True):
        compared = True
        match example.credit.objective:
            case Objective.PAIR:
                served += place[1:]
            case Objective.RANKING | Objective.UNPAIRED:
                served += place
            case Objective.DEMONSTRATION:
                compared = False
            case _:
                assert_never(example.credit.objective)
        shares += [compared / len(place)] * len(place)
    return served, shares
