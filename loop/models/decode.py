"""One batch of token ids through the model: answers drawn token by token, or given answers scored."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from loop.types import Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = Sequence[int]
Drawn = tuple[tuple[int, ...], tuple[float, ...]]
"""Token ids of one answer, its end-of-turn token included, and the raw log-probability of each in nats."""


@torch.inference_mode()
def decode(
    model: "PreTrainedModel", prompts: Sequence[Ids], sampling: Sampling, *, uniforms: Tensor, pad: int, stop: Tensor
) -> list[Drawn]:
    """One answer per prompt; a row leaves the batch when it draws a token of `stop` [tokens].

    `uniforms` [prompts, max_tokens] in [0, 1) decides every draw, so that an answer does not depend on the random
    numbers of those who share its batch. What all prompts begin with, a system prompt say, is computed once.
    """
    cache, common = _shared_beginning(model, prompts)
    ids, mask, positions = left_padded([prompt[common:] for prompt in prompts], pad, model.device)
    mask, positions = torch.cat([mask.new_ones(len(prompts), common), mask], dim=1), positions + common
    tokens = torch.full((len(prompts), sampling.max_tokens), pad, device=model.device)
    logprobs = torch.zeros_like(tokens, dtype=torch.float32)
    lengths = torch.zeros_like(tokens[:, 0])
    rows = torch.arange(len(prompts), device=model.device)
    for step in range(sampling.max_tokens):
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        drawn, logprob = draw(output.logits[:, -1].float(), sampling, uniforms[rows, step])
        tokens[rows, step], logprobs[rows, step] = drawn, logprob
        lengths[rows] += 1
        writing = ~torch.isin(drawn, stop)
        if not writing.any():
            break
        if not writing.all():
            cache.batch_select_indices(writing.nonzero()[:, 0])
            rows, drawn, mask, positions = (part[writing] for part in (rows, drawn, mask, positions))
        ids, positions = drawn[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
    written = zip(tokens.tolist(), logprobs.tolist(), lengths.tolist(), strict=True)
    return [(tuple(row[:n]), tuple(values[:n])) for row, values, n in written]


def _shared_beginning(model: "PreTrainedModel", prompts: Sequence[Ids]) -> tuple[DynamicCache, int]:
    """A cache that holds what all prompts begin with, and how many tokens that are; each keeps one token at least."""
    cache = DynamicCache(config=model.config)
    first, last = min(prompts, key=tuple), max(prompts, key=tuple)
    shortest = min(map(len, prompts))
    common = next((i for i in range(shortest) if first[i] != last[i]), shortest - 1)
    if common and len(prompts) > 1:
        ids = torch.tensor([first[:common]], device=model.device)
        model(input_ids=ids, past_key_values=cache, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
        return cache, common
    return cache, 0


def draw(logits: Tensor, sampling: Sampling, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [rows] drawn from float32 `logits` [rows, vocabulary], and their log-probabilities at temperature 1.

    Draws by inverting the cumulative distribution at `uniforms` [rows]; a temperature of 0 takes the likeliest token.
    """
    if sampling.temperature == 0:
        drawn = logits.argmax(-1)
    else:
        probabilities = (logits / sampling.temperature).softmax(-1, dtype=torch.float64)
        drawn = _invert(probabilities, sampling.top_p, uniforms)
    return drawn, logits.gather(-1, drawn[:, None])[:, 0] - logits.logsumexp(-1)


def _invert(probabilities: Tensor, top_p: float, uniforms: Tensor) -> Tensor:
    if top_p >= 1:
        cumulative = probabilities.cumsum(-1)
        return torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)[:, 0]
    ranked, order = probabilities.sort(-1, descending=True)
    nucleus = ranked * (ranked.cumsum(-1) - ranked < top_p)
    cumulative = nucleus.cumsum(-1)
    rank = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True)
    return order.gather(-1, rank)[:, 0]


@torch.inference_mode()
def score(model: "PreTrainedModel", rows: Sequence[tuple[Ids, Ids]], pad: int) -> list[float]:
    """Log-probability in nats, summed in float64, of each row's response ids after its prompt ids."""
    ids, mask, positions = left_padded([[*prompt, *response] for prompt, response in rows], pad, model.device)
    longest = max(len(response) for _, response in rows)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest + 1
    ).logits
    sums = []
    for row, (_, response) in enumerate(rows):
        at = logits[row, -len(response) - 1 : -1].float()
        chosen = at.gather(-1, ids[row, -len(response) :, None])[:, 0]
        sums.append(float((chosen - at.logsumexp(-1)).double().sum()))
    return sums


def left_padded(rows: Sequence[Ids], pad: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and positions [rows, longest]: every row ends in the last column."""
    longest = max(map(len, rows))
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask, (mask.cumsum(1) - 1).clamp(min=0)
