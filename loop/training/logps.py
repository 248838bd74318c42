"""Log-probabilities of answers under the model in training: the only part that knows how tokens lie in rows.

A row is a prefix tree of neighbouring examples, so that every shared beginning (a system prompt, a prompt, what two
answers begin with) is computed once and little is padded. Models for which that is not exact get one row per answer;
`choose_layout` finds out by comparing with the stock forward pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers import PreTrainedModel

from loop.errors import TrainingError
from loop.training.tokens import Encoded
from loop.training.tree import common_prefix, grow

ROW_TOKENS = 256
"""Rows are about this long: longer ones waste attention on what their masks hide, shorter ones share less."""
HEAD_POSITIONS = 256
"""Positions whose logits exist at the same time."""
TOLERANCE, AUTOCAST_TOLERANCE = 0.02, 0.25
"""Nats per token between our forward pass and the stock one: rounding passes, another formula does not.

A bfloat16 logit of 20 is rounded to steps of an eighth, so a short answer may well be off by a tenth.
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """Of each answer, examples in order: all that losses ever see of the model."""

    logp: Tensor
    """Log-probability of the whole answer, float64 [answers]."""
    nll: Tensor
    """Weighted mean of the tokens' negative log-probabilities, float64 [answers]."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A causal language model and how its rows are laid out and computed."""

    model: PreTrainedModel
    """The transformers model itself, LoRA layers inside."""
    autocast: bool = False
    share_prefixes: bool = True


@dataclass(frozen=True, slots=True)
class Rows:
    """Trees padded into a batch, and where each answer's tokens are predicted from."""

    tokens: Tensor
    """[rows, width]."""
    positions: Tensor
    """[rows, width]."""
    ends: Tensor
    """[rows, width]: first node after each node's subtree."""
    sources: Tensor
    """Flat node that predicts each answer token, [tokens of all answers]."""
    targets: Tensor
    answers: Tensor
    """Index of the answer each token belongs to."""
    nll_weights: Tensor


def score(scorer: Scorer, examples: Sequence[Encoded]) -> Scored:
    """Log-probability and NLL of every answer of `examples`, in one forward pass; differentiable."""
    rows = lay_out(examples, share_prefixes=scorer.share_prefixes, device=_device(scorer.model))
    with torch.autocast(rows.tokens.device.type, torch.bfloat16, enabled=scorer.autocast):
        hidden = scorer.model.base_model(
            input_ids=rows.tokens,
            position_ids=rows.positions if scorer.share_prefixes else None,
            attention_mask=_mask(rows.ends) if scorer.share_prefixes else None,
            use_cache=False,
        ).last_hidden_state
        tokens = _token_logps(hidden.flatten(0, 1), _head(scorer.model), rows.sources, rows.targets).double()
    count = sum(len(example.answers) for example in examples)
    zeros = tokens.new_zeros(count)
    total_weights = zeros.index_add(0, rows.answers, rows.nll_weights)
    weighted = zeros.index_add(0, rows.answers, -tokens * rows.nll_weights)
    return Scored(zeros.index_add(0, rows.answers, tokens), weighted / total_weights)


def choose_layout(scorer: Scorer, examples: Sequence[Encoded]) -> Scorer:
    """The first layout that gives the stock forward pass's log-probabilities on the shortest and the longest example.

    Raises TrainingError when none does: soft-capped or scaled logits, for example.
    """
    ordered = sorted(examples, key=lambda example: example.size)
    checked = [ordered[0], ordered[-1]]
    expected = torch.cat([_stock_logps(scorer, example) for example in checked])
    lengths = expected.new_tensor([len(answer.ids) for example in checked for answer in example.answers])
    tolerance = AUTOCAST_TOLERANCE if scorer.autocast else TOLERANCE
    for share_prefixes in (True, False):
        chosen = replace(scorer, share_prefixes=share_prefixes)
        with torch.no_grad():
            difference = ((score(chosen, checked).logp - expected) / lengths).abs().max()
        if difference <= tolerance:
            return chosen
    raise TrainingError(
        f"{type(scorer.model).__name__} computes logits in a way that training does not reproduce",
        "choose a base model whose logits are a plain linear head on the last hidden state",
    )


def lay_out(examples: Sequence[Encoded], *, share_prefixes: bool, device: torch.device) -> Rows:
    """Pad `examples` into rows: trees of about ROW_TOKENS, or one chain per answer."""
    sequences = [sequence for example in examples for sequence in example.sequences]
    answers = [answer for example in examples for answer in example.answers]
    groups = _neighbours(sequences) if share_prefixes else [[i] for i in range(len(sequences))]
    trees = [grow([sequences[i] for i in group]) for group in groups]
    width = max(len(tree.tokens) for tree in trees)
    predicted: list[list[int]] = [[]] * len(sequences)
    for row, (group, tree) in enumerate(zip(groups, trees, strict=True)):
        for i, path in zip(group, tree.paths, strict=True):
            predicted[i] = [row * width + node for node in path[-len(answers[i].ids) - 1 : -1]]
    return Rows(
        tokens=_padded([tree.tokens for tree in trees], width, device),
        positions=_padded([tree.depths for tree in trees], width, device),
        ends=_padded([(*tree.ends, *range(len(tree.ends) + 1, width + 1)) for tree in trees], width, device),
        sources=torch.tensor([node for nodes in predicted for node in nodes], device=device),
        targets=torch.tensor([token for answer in answers for token in answer.ids], device=device),
        answers=torch.tensor([i for i, answer in enumerate(answers) for _ in answer.ids], device=device),
        nll_weights=torch.tensor(
            [w for answer in answers for w in answer.nll_weights], dtype=torch.float64, device=device
        ),
    )


def _neighbours(sequences: Sequence[tuple[int, ...]]) -> list[list[int]]:
    """Indices of the sequences of each row, in lexicographic order and cut into rows of about the same length.

    A sequence that has more in common with the one before than it adds stays in its row.
    """
    order = sorted(range(len(sequences)), key=sequences.__getitem__)
    shared = [0, *(common_prefix(sequences[a], sequences[b]) for a, b in pairwise(order))]
    added = [len(sequences[i]) - common for i, common in zip(order, shared, strict=True)]
    target = sum(added) / ceil(sum(added) / ROW_TOKENS)
    groups: list[list[int]] = [[]]
    size = 0
    for i, common, new in zip(order, shared, added, strict=True):
        if size >= target and new >= common:
            groups.append([])
            size = common
        groups[-1].append(i)
        size += new
    return groups


class FrozenLogSumExp(torch.autograd.Function):
    """log sum_v exp(h . W_v) for each row of h under a frozen W; keeps [rows, hidden] for backward, never [rows, V]."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, hidden: Tensor, head: Tensor) -> Tensor:
        """[rows, hidden], [V, hidden] -> [rows]. The gradient softmax(h W') W is taken here, logits at hand."""
        sums, means = [], []
        for part in torch.split(hidden, HEAD_POSITIONS):
            logits = _at_least_float32(linear(part, head))
            sums.append(logits.logsumexp(-1))
            if hidden.requires_grad:
                means.append((logits - sums[-1][:, None]).exp_().to(head.dtype) @ head)
        ctx.save_for_backward(*means)
        return torch.cat(sums)

    @staticmethod
    def backward(ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor) -> tuple[Tensor, None]:
        """The expected head row times the incoming gradient."""
        mean = torch.cat(ctx.saved_tensors)
        return gradient[:, None].to(mean.dtype) * mean, None


def _token_logps(hidden: Tensor, head: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target at its source node; a source with several targets is normalised once."""
    nodes, which = torch.unique(sources, return_inverse=True)
    predicting = hidden[nodes].to(head.dtype)
    wanted = (_at_least_float32(predicting)[which] * head[targets]).sum(-1)
    normaliser: Tensor = FrozenLogSumExp.apply(predicting, head)
    return wanted - normaliser[which]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _mask(ends: Tensor) -> Tensor:
    """Which node sees which, [rows, 1, width, width]; padding sees itself alone."""
    nodes = torch.arange(ends.shape[1], device=ends.device)
    return ((nodes[None, :] <= nodes[:, None]) & (nodes[None, :, None] < ends[:, None, :]))[:, None]


def _padded(rows: Sequence[Sequence[int]], width: int, device: torch.device) -> Tensor:
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], device=device)


@torch.no_grad()
def _stock_logps(scorer: Scorer, example: Encoded) -> Tensor:
    logps = []
    for sequence, answer in zip(example.sequences, example.answers, strict=True):
        ids = torch.tensor([sequence], device=_device(scorer.model))
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=scorer.autocast):
            logits = scorer.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer.ids) + 1).logits
        tokens = logits[0, :-1].double().log_softmax(-1).gather(1, ids[0, -len(answer.ids) :, None])
        logps.append(tokens.sum())
    return torch.stack(logps)


def _head(model: PreTrainedModel) -> Tensor:
    head: Tensor = model.get_output_embeddings().weight
    return head


def _device(model: PreTrainedModel) -> torch.device:
    return torch.device(model.device)
