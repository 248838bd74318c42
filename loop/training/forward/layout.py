"""Examples as the tokens of one forward pass, and where each answer's tokens are predicted from.

A tree is one stream in which every shared beginning (a system prompt, earlier turns, a prompt, what two answers begin
with) stands once and nothing is padded. Models for which that is not exact get one padded row per answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loop.training.batch.tokens import Encoded
from loop.training.batch.tree import grow
from loop.training.forward.attention import Backend, Plan


@dataclass(frozen=True, slots=True)
class Layout:
    """What the model is given, and where to look in what it gives back."""

    tokens: Tensor
    """[rows, width]; a tree is one row."""
    positions: Tensor | None
    """[1, width] of a tree's nodes."""
    plan: Plan | None
    """How a tree is attended to."""
    sources: Tensor
    """Flat node that predicts each answer token, [tokens of all answers]."""
    targets: Tensor
    answers: Tensor
    """Index of the answer each token belongs to."""
    nll_weights: Tensor
    """Float64, of each token in its answer's NLL."""


def lay_out(examples: Sequence[Encoded], attention: Backend | None, like: Tensor) -> Layout:
    """The prefix tree of all answers of `examples`, or a padded row for each, for a model that computes `like` this."""
    device = like.device
    sequences = [sequence for example in examples for sequence in example.sequences]
    answers = [answer for example in examples for answer in example.answers]
    if attention:
        tree = grow(sequences)
        nodes = [tree.nodes(index) for index in range(len(sequences))]
        tokens, positions, plan = [tree.tokens], torch.tensor([tree.depths], device=device), attention(tree, like)
    else:
        width = max(map(len, sequences))
        nodes = [list(range(row * width, row * width + len(sequence))) for row, sequence in enumerate(sequences)]
        tokens, positions, plan = [(*s, *[0] * (width - len(s))) for s in sequences], None, None
    sources = [path[-len(answer.ids) - 1 : -1] for path, answer in zip(nodes, answers, strict=True)]
    return Layout(
        tokens=torch.tensor(tokens, device=device),
        positions=positions,
        plan=plan,
        sources=torch.tensor([node for path in sources for node in path], device=device),
        targets=torch.tensor([token for answer in answers for token in answer.ids], device=device),
        answers=torch.tensor([i for i, answer in enumerate(answers) for _ in answer.ids], device=device),
        nll_weights=torch.tensor([w for a in answers for w in a.nll_weights], dtype=torch.float64, device=device),
    )
