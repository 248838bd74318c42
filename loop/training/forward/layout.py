"""Layout of examples as the tokens of one forward pass, and the positions that predict each answer's tokens.

A tree is one stream in which every shared prefix (a system prompt, earlier turns, a prompt, the beginning of two
answers) stands once and nothing is padded. Models for which that is not exact get one padded row per answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loop.training.batch.tokens import Answer, Encoded
from loop.training.batch.tree import grow
from loop.training.forward.attention import Backend, Plan


@dataclass(frozen=True, slots=True)
class Layout:
    """Input of the model, and the indices by which its output is read."""

    tokens: Tensor
    """Token ids [rows, width]; a tree is one row."""
    positions: Tensor | None
    """Positions of a tree's nodes [1, width]; None for rows, whose positions the model counts itself."""
    plan: Plan | None
    """Attention over a tree; None for rows."""
    sources: Tensor
    """Index, in the flattened tokens, of the node that predicts each answer token, [tokens of all answers]."""
    targets: Tensor
    """Token id of each answer token, [tokens of all answers]."""
    answers: Tensor
    """Index of the answer to which each answer token belongs, [tokens of all answers]."""
    nll_weights: Tensor
    """Weight of each answer token in its answer's NLL, float64 [tokens of all answers]."""


def lay_out(examples: Sequence[Encoded], attention: Backend | None, like: Tensor) -> Layout:
    """Prefix tree of all answers, or padded rows without `attention`; queries have the device and dtype of `like`."""
    device = like.device
    sequences: list[tuple[int, ...]] = []
    answers: list[Answer] = []
    for example in examples:
        sequences.extend(example.sequences)
        answers.extend(example.answers)
    positions: Tensor | None = None
    plan: Plan | None = None
    if attention:
        tree = grow(sequences)
        paths = [tree.nodes(index) for index in range(len(sequences))]
        tokens = torch.tensor([tree.tokens], device=device)  # [1, nodes]
        positions = torch.tensor([tree.depths], device=device)  # [1, nodes]
        plan = attention(tree, like)
    else:
        rows, paths = _padded(sequences)
        tokens = torch.tensor(rows, device=device)  # [answers, longest sequence]
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    weights: list[float] = []
    for index, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        # A token is predicted one node before its own: from the prompt's last node to the answer's last but one.
        sources.extend(path[-len(answer.ids) - 1 : -1])
        targets.extend(answer.ids)
        owners.extend([index] * len(answer.ids))
        weights.extend(answer.nll_weights)
    return Layout(
        tokens=tokens,
        positions=positions,
        plan=plan,
        sources=torch.tensor(sources, device=device),
        targets=torch.tensor(targets, device=device),
        answers=torch.tensor(owners, device=device),
        nll_weights=torch.tensor(weights, dtype=torch.float64, device=device),
    )


def _padded(sequences: Sequence[tuple[int, ...]]) -> tuple[list[list[int]], list[list[int]]]:
    """Rows of one width, padded with 0, and the index of each sequence's tokens in the flattened rows."""
    width = max(map(len, sequences))
    rows: list[list[int]] = []
    paths: list[list[int]] = []
    for sequence in sequences:
        first = len(rows) * width
        paths.append(list(range(first, first + len(sequence))))
        # On the right, so that causal attention needs no mask: no token sees the padding behind it.
        rows.append(list(sequence) + [0] * (width - len(sequence)))
    return rows, paths
