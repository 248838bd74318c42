"""Log-probabilities of answers under the model in training: the only output of the model that losses see.

`choose_layout` determines whether answers may share their prefixes, by a comparison with the stock forward pass.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear
from transformers import PreTrainedModel

from loop.errors import TrainingError
from loop.training.batch.packs import nodes, packs, padded
from loop.training.batch.tokens import Encoded
from loop.training.forward.attention import Backend, backends, select
from loop.training.forward.layout import lay_out
from loop.training.forward.spans import spans
from loop.training.weights.adapters import checkpointed, trainable, use_liger
from loop.training.weights.lora import unfused

_LOG = logging.getLogger(__name__)
FULL = {"cpu": 256, "cuda": 65_536}
"""Smallest forward pass, in tokens, that uses a device fully: a pass of fewer tokens takes as long as one of these.

Two cores took the same time for a step in passes of 400 to 4,000 tokens of a model of 135 M parameters. A GPU is never
full: a pass of 6,000 tokens of a 0.5 B model took an H200 as long as one of 2,000, all of it spent on launches.
"""
HEAD_POSITIONS = 256
"""Number of positions whose logits exist at the same time."""
TOLERANCE = 0.02
"""Tolerance between two ways to compute an answer in float32, in nats per token: only rounding stays below it."""
NOISE, NOISE_OF_UNLIKELY = 0.25, 0.1
"""Tolerance added in half precision, in nats by the root of the tokens, and more for each nat that a token is unlikely.

On 126 answers of two desks' third nights the root mean square was .02 at less than a nat a token and .3 at 15 nats,
where the rejected answers of earlier nights have come; the largest was .86.
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
    select(scorer.model, tree=scorer.attention is not None)
    like = torch.empty(0, dtype=scorer.number, device=_device(scorer.model))
    layout = lay_out(examples, scorer.attention, like)
    of_tree = {"tree": layout.plan} if layout.plan else {}
    # The model without its head: logits exist for the answers alone, some positions at a time.
    with torch.autocast(layout.tokens.device.type, torch.bfloat16, enabled=scorer.autocast):
        hidden = scorer.model.base_model(
            input_ids=layout.tokens, position_ids=layout.positions, use_cache=False, **of_tree
        ).last_hidden_state
        # Float64, since they are summed: near -800 nats a float32 is rounded by 6e-5.
        tokens = _token_logps(hidden.flatten(0, 1), _head(scorer.model), layout.sources, layout.targets).double()
    count = sum(len(example.answers) for example in examples)
    zeros = tokens.new_zeros(count)
    total_weights = zeros.index_add(0, layout.answers, layout.nll_weights)
    weighted = zeros.index_add(0, layout.answers, -tokens * layout.nll_weights)
    return Scored(zeros.index_add(0, layout.answers, tokens), weighted / total_weights)


def choose_layout(scorer: Scorer, examples: Sequence[Encoded], trees: Sequence[Backend] | None = None) -> Scorer:
    """`scorer` with the first layout whose log-probabilities are those of the stock forward pass.

    The shortest and the longest example are compared, with Liger's kernels in place. Rows are tried after all backends
    that attend to a tree, those of the device or `trees`, or alone where `scorer` has them already. Raises
    TrainingError when no layout agrees, with soft-capped or scaled logits, for example.
    """
    ordered = sorted(examples, key=lambda example: example.size)
    checked = [ordered[0], ordered[-1]]
    # Before Liger's kernels and without fused layers: those are compared too.
    with unfused(scorer.model):
        expected = torch.cat([_stock_logps(scorer, example) for example in checked])
    use_liger(scorer.model)
    name = type(scorer.model).__name__
    if trees is None:
        trees = backends(_device(scorer.model), again=bool(checkpointed(scorer.model)))
    tried: list[Backend | None] = list(trees) if scorer.attention else []
    tried.append(None)
    for backend in tried:
        chosen = replace(scorer, attention=backend)
        if _agrees(chosen, checked, expected):
            return chosen
        if backend:
            _LOG.warning(
                "%s: answers computed in %s of a tree differ from answers in rows by more than rounding; "
                "a slower way is used, which comes to the same",
                name,
                backend.__name__,
            )
    raise TrainingError(
        f"{name} computes logits in a way that training does not reproduce",
        "choose a base model whose logits are a plain linear head on the last hidden state",
    )


def _agrees(scorer: Scorer, examples: Sequence[Encoded], expected: Tensor) -> bool:
    """Whether `scorer` comes to the log-probabilities `expected`, up to rounding, and on a GPU has a backward."""
    try:
        with torch.no_grad():
            # A small tree may be attended to in another way than a large one, so the examples are also scored apart.
            apart = torch.cat([score(scorer, [example]).logp for example in examples])
            found = score(scorer, examples).logp
        if found.is_cuda:  # there the backward is compiled as well, and may fail on its own
            torch.autograd.grad(score(scorer, examples[:1]).logp.sum(), list(trainable(scorer.model).values()))
    except TrainingError:
        return False
    except torch.OutOfMemoryError:  # a RuntimeError too, but a slower backend would not help
        raise
    except RuntimeError as error:
        _LOG.warning("%s", error)
        return False
    lengths = found.new_tensor([len(answer.ids) for example in examples for answer in example.answers])
    allowed = rounding(expected, lengths, scorer.number)
    return all(bool(((logps - expected).abs() <= allowed).all()) for logps in (apart, found))


def rounding(logp: Tensor, lengths: Tensor, number: torch.dtype) -> Tensor:
    """Tolerance in nats between two right ways to compute the log-probability of an answer, [answers].

    `logp` and `lengths` (in tokens) are [answers]; `number` is the dtype they are computed in.
    """
    exact = TOLERANCE * lengths
    if number.itemsize >= torch.float32.itemsize:
        return exact
    # Rounding errors of tokens add up with the root of their number; a bound that grew with the number let a mask of
    # wrong blocks pass. Unlikely tokens are rounded by more.
    return exact + lengths.sqrt() * (NOISE + NOISE_OF_UNLIKELY * logp.abs() / lengths)


class FrozenHeadLogProb(torch.autograd.Function):
    """log softmax(h W' + b) at one token for each row of h under a frozen head; keeps [rows, hidden], never [rows, V].

    Its gradient at h is (e_t - softmax(h W' + b)) W for token t.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, hidden: Tensor, head: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        """[rows, hidden], [V, hidden], [V], [rows] -> [rows]."""
        # The gradient is computed here as well, while the logits exist: one product with the head less.
        parts = torch.split(hidden, HEAD_POSITIONS)
        aims = torch.split(targets[:, None], HEAD_POSITIONS)
        wanted = hidden.requires_grad
        found = [_predicted(rows, aim, head, bias, wanted) for rows, aim in zip(parts, aims, strict=True)]
        gradients = [gradient for _, gradient in found if gradient is not None]
        ctx.save_for_backward(*gradients)
        return torch.cat([logps for logps, _ in found]).squeeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.BackwardCFunction, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradient of `hidden`: the kept one times the incoming one."""
        kept = torch.cat(ctx.saved_tensors)
        return (gradient[:, None] * kept).to(kept.dtype), None, None, None


def _predicted(
    hidden: Tensor, targets: Tensor, head: Tensor, bias: Tensor | None, with_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities [rows, 1] and their gradients [rows, hidden]."""
    # In a function of its own, so that these logits are freed before those of the next rows are made. The steps below
    # overwrite them in place.
    logits = _at_least_float32(linear(hidden, head, bias))
    logits.sub_(logits.amax(-1, keepdim=True))
    own = logits.gather(1, targets)
    exponentials = logits.exp_()
    total = exponentials.sum(-1, keepdim=True)
    logps = own - total.log()
    if not with_gradient:
        return logps, None
    # The difference is taken before it is rounded to the head's dtype: where the model is sure of token t, row t of W
    # and its expectation are nearly the same, and each would be rounded by more than they differ.
    excess = exponentials.scatter_add_(1, targets, -total)
    return logps, (excess.to(head.dtype) @ head).div_(-total)


def _token_logps(hidden: Tensor, head: nn.Linear, sources: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target at its source node."""
    # Tokens that two answers share have the same source and target, and are predicted once.
    (nodes, wanted), which = torch.unique(torch.stack([sources, targets]), dim=1, return_inverse=True)
    predicting = hidden[nodes].to(head.weight.dtype)
    logps: Tensor = FrozenHeadLogProb.apply(predicting, head.weight, head.bias, wanted)
    return logps[which]


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@torch.no_grad()
def _stock_logps(scorer: Scorer, example: Encoded) -> Tensor:
    """Log-probability of each answer of `example` by the stock forward pass, float64 [answers]."""
    select(scorer.model, tree=False)
    logps = []
    for sequence, answer in zip(example.sequences, example.answers, strict=True):
        ids = torch.tensor([sequence], device=_device(scorer.model))
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=scorer.autocast):
            logits = scorer.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer.ids) + 1).logits
        rows, wanted = logits[0, :-1], ids[0, -len(answer.ids) :, None]
        # In parts, so that float64 logits exist for few positions at a time.
        parts = [slice(start, start + HEAD_POSITIONS) for start in range(0, len(rows), HEAD_POSITIONS)]
        tokens = [rows[part].double().log_softmax(-1).gather(1, wanted[part]) for part in parts]
        logps.append(torch.cat(tokens).sum())
    return torch.stack(logps)


def _head(model: PreTrainedModel) -> nn.Linear:
    head: nn.Linear = model.get_output_embeddings()
    return head


def _device(model: PreTrainedModel) -> torch.device:
    return torch.device(model.device)
