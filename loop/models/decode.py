"""Decoding: one batch of token ids through the model, to draw answers token by token or to score given answers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from loop.models.rows import Ids, begin, left_padded
from loop.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Drawn = tuple[tuple[int, ...], tuple[float, ...]]
"""Token ids of one answer, its end-of-turn token included, and the raw log-probability of each in nats."""

BLOCK = 256
"""Number of neighbouring tokens whose weights are summed before one of them is drawn."""
KEPT_SHARE = 0.85
"""Share of unfinished rows at which the others leave the batch: that copies keys and values and costs about a step."""


@torch.inference_mode()
def decode(
    model: "PreTrainedModel", prompts: Sequence[Ids], sampling: Sampling, *, uniforms: Tensor, pad: int, stop: Tensor
) -> list[Drawn]:
    """One answer per prompt, each up to its first token of `stop` [tokens].

    `uniforms` [prompts, max_tokens] in [0, 1) decides every draw. Prompts in the order of their lengths are padded
    least.
    """
    batch = begin(model, prompts, pad, sampling.max_tokens)
    tokens = torch.full((len(prompts), sampling.max_tokens), pad, device=model.device)
    logprobs = torch.zeros_like(tokens, dtype=torch.float32)
    lengths = torch.zeros_like(tokens[:, 0])
    rows = torch.arange(len(prompts), device=model.device)
    writing = torch.ones_like(rows, dtype=torch.bool)
    for step in range(sampling.max_tokens):
        # Each prompt has random numbers of its own, so an answer does not depend on the rows that share its batch.
        drawn, logprob = draw(batch.logits, sampling, uniforms[rows, step])
        tokens[rows, step], logprobs[rows, step] = drawn, logprob
        lengths[rows] += writing
        writing &= ~torch.isin(drawn, stop)
        going_on = int(writing.sum())
        if not going_on or step + 1 == sampling.max_tokens:
            break
        if going_on <= KEPT_SHARE * len(rows):
            chosen = writing.nonzero()[:, 0]
            batch.keep(chosen)
            rows, drawn, writing = rows[chosen], drawn[chosen], writing[chosen]
        batch.feed(model, drawn)
    written = zip(tokens.tolist(), logprobs.tolist(), lengths.tolist(), strict=True)
    return [(tuple(row[:n]), tuple(values[:n])) for row, values, n in written]


def draw(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [rows] drawn from float32 `logits` [rows, vocabulary], and their log-probabilities at temperature 1.

    A draw inverts the cumulative distribution at `uniforms` [rows]; a temperature of 0 takes the likeliest token.
    """
    if sampling.temperature == 0:
        drawn = logits.argmax(-1)
    elif sampling.top_p < 1:
        drawn = _in_nucleus((logits / sampling.temperature).softmax(-1, dtype=torch.float64), sampling.top_p, uniforms)
    else:
        drawn = _in_blocks(((logits - logits.amax(-1, keepdim=True)) / sampling.temperature).exp_(), uniforms)
    # The raw log-probability, not that of the tempered and truncated distribution, by which training would be biased.
    return drawn, logits.gather(-1, drawn[:, None])[:, 0] - logits.logsumexp(-1)


def _in_blocks(weights: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens [rows] drawn by float32 weights [rows, vocabulary]: first a block of tokens, then the token in it."""
    # Sums are float64; in blocks no float64 tensor has the size of the vocabulary.
    weights = functional.pad(weights, (0, -weights.shape[-1] % BLOCK)).view(len(weights), -1, BLOCK)
    ends = weights.sum(-1, dtype=torch.float64).cumsum(-1)
    aim = uniforms[:, None] * ends[:, -1:]
    block = _reached(ends, aim)
    before = torch.where(block > 0, ends.gather(-1, (block - 1).clamp(min=0)), 0.0)
    chosen = weights.take_along_dim(block[:, :, None], dim=1)[:, 0]
    token = _reached(chosen.cumsum(-1, dtype=torch.float64), aim - before)
    return (block * BLOCK + token)[:, 0]


def _in_nucleus(probabilities: Tensor, top_p: float, uniforms: Tensor) -> Tensor:
    """Tokens [rows] drawn from the likeliest tokens of each row that together have at least `top_p`."""
    ranked, order = probabilities.sort(-1, descending=True)
    # A token belongs to the nucleus if those before it have less than `top_p`: the first always does.
    ends = (ranked * (ranked.cumsum(-1) - ranked < top_p)).cumsum(-1)
    return order.gather(-1, _reached(ends, uniforms[:, None] * ends[:, -1:]))[:, 0]


def _reached(ends: Tensor, aim: Tensor) -> Tensor:
    """Index [rows, 1] of the first of the rising `ends` above `aim` [rows, 1], never past the last rise."""
    # Rounding may put an aim at the very end, behind which only tokens without weight stand.
    last = torch.searchsorted(ends, ends[:, -1:].contiguous())
    return torch.minimum(torch.searchsorted(ends, aim, right=True), last)


@torch.inference_mode()
def score(model: "PreTrainedModel", rows: Sequence[tuple[Ids, Ids]], pad: int) -> list[float]:
    """Log-probability in nats, summed in float64, of each row's response ids after its prompt ids."""
    ids, mask, positions = left_padded([list(prompt) + list(response) for prompt, response in rows], pad, model.device)
    longest = max(len(response) for _, response in rows)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest + 1
    ).logits
    sums = []
    for row, (_, response) in enumerate(rows):
        # Rows are padded on the left, so each response ends at the last column and is predicted one column before.
        at = logits[row, -len(response) - 1 : -1].float()
        chosen = at.gather(-1, ids[row, -len(response) :, None])[:, 0]
        sums.append(float((chosen - at.logsumexp(-1)).double().sum()))
    return sums
