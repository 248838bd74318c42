"""Log-probabilities of answers under the model in training: the only output of the model that losses see."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from loop.training.batch.packs import nodes, packs, padded
from loop.training.batch.tokens import Encoded
from loop.training.forward.attention import Backend, select
from loop.training.forward.head import token_logps
from loop.training.forward.layout import lay_out
from loop.training.forward.spans import spans

FULL = {"cpu": 256, "cuda": 65_536}
"""Smallest forward pass, in tokens, that uses a device fully: a pass of fewer tokens takes as long as one of these.

Two cores took the same time for a step in passes of 400 to 4,000 tokens of a model of 135 M parameters. A GPU is never
full: a pass of 6,000 tokens of a 0.5 B model took an H200 as long as one of 2,000, all of it spent on launches.
"""


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of every answer, examples in order."""

    logp: Tensor
    """Log-probability of the whole answer, float64 [answers]."""
    nll: Tensor
    """Weighted mean of the tokens' negative log-probabilities, float64 [answers]."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """A causal language model, and the way its answers are laid out and computed."""

    model: PreTrainedModel
    """The transformers model itself, LoRA layers inside."""
    autocast: bool = False
    """Whether matrix products are computed in bfloat16."""
    attention: Backend | None = spans
    """Attention over the prefix tree of the answers; None gives each answer a row of its own."""
    sharded: bool = False
    """Whether all processes have to compute together, since each holds a part of the weights."""

    @property
    def number(self) -> torch.dtype:
        """Dtype in which log-probabilities are computed."""
        return torch.bfloat16 if self.autocast else self.model.dtype

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return torch.device(self.model.device)

    def size(self, examples: Sequence[Encoded]) -> int:
        """Number of tokens of one forward pass over all of `examples`, padding included."""
        if self.attention is None:
            lengths = [len(sequence) for example in examples for sequence in example.sequences]
            return len(lengths) * max(lengths)
        return nodes(*examples)

    def passes(self, examples: Sequence[Encoded], budget: int) -> list[list[int]]:
        """Indices of the examples of each forward pass of at most `budget` tokens."""
        if self.attention is None:
            return padded(examples, budget)
        return packs(examples, budget, FULL[self.model.device.type])


def score(scorer: Scorer, examples: Sequence[Encoded]) -> Scored:
    """Log-probability and NLL of every answer of `examples`, in one forward pass; differentiable."""
    like = torch.empty(0, dtype=scorer.number, device=scorer.device)
    select(scorer.model, tree=scorer.attention is not None)
    layout = lay_out(examples, scorer.attention, like)
    of_tree = {"tree": layout.plan} if layout.plan else {}
    # The model without its head: logits exist for the answers alone, some positions at a time.
    with torch.autocast(layout.tokens.device.type, torch.bfloat16, enabled=scorer.autocast):
        hidden = scorer.model.base_model(
            input_ids=layout.tokens, position_ids=layout.positions, use_cache=False, **of_tree
        ).last_hidden_state
        # Float64, since they are summed: near -800 nats a float32 is rounded by 6e-5.
        head = scorer.model.get_output_embeddings()
        tokens = token_logps(hidden.flatten(0, 1), head, layout.sources, layout.targets).double()
    count = sum(len(example.answers) for example in examples)
    zeros = tokens.new_zeros(count)
    total_weights = zeros.index_add(0, layout.answers, layout.nll_weights)
    weighted = zeros.index_add(0, layout.answers, -tokens * layout.nll_weights)
    return Scored(zeros.index_add(0, layout.answers, tokens), weighted / total_weights)
