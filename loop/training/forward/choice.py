"""Choice of the layout of forward passes: the fastest whose log-probabilities are those of the stock forward pass."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, device
from transformers import PreTrainedModel
from transformers.integrations.liger import apply_liger_kernel
from transformers.utils import is_liger_kernel_available

from loop.errors import TrainingError
from loop.training.batch.tokens import Encoded
from loop.training.forward.attention import Backend, select
from loop.training.forward.blocks import blocks
from loop.training.forward.head import HEAD_POSITIONS
from loop.training.forward.logps import Scorer, score
from loop.training.forward.rounding import rounding
from loop.training.forward.spans import kept_spans, spans
from loop.training.weights.activations import checkpointed
from loop.training.weights.adapters import trainable
from loop.training.weights.lora import unfused

_LOG = logging.getLogger(__name__)


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
        trees = backends(scorer.device, again=bool(checkpointed(scorer.model)))
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


@torch.no_grad()
def _stock_logps(scorer: Scorer, example: Encoded) -> Tensor:
    """Log-probability of each answer of `example` by the stock forward pass, float64 [answers]."""
    select(scorer.model, tree=False)
    logps = []
    for sequence, answer in zip(example.sequences, example.answers, strict=True):
        ids = torch.tensor([sequence], device=scorer.device)
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=scorer.autocast):
            logits = scorer.model(input_ids=ids, use_cache=False, logits_to_keep=len(answer.ids) + 1).logits
        rows, wanted = logits[0, :-1], ids[0, -len(answer.ids) :, None]
        # In parts, so that float64 logits exist for few positions at a time.
        parts = [slice(start, start + HEAD_POSITIONS) for start in range(0, len(rows), HEAD_POSITIONS)]
        tokens = [rows[part].double().log_softmax(-1).gather(1, wanted[part]) for part in parts]
        logps.append(torch.cat(tokens).sum())
    return torch.stack(logps)


def backends(where: device, *, again: bool = False) -> tuple[Backend, ...]:
    """The backends that run on a device, fastest first; `again` where backward computes layers again."""
    by_chain = kept_spans if again else spans
    return (blocks, by_chain) if where.type == "cuda" else (by_chain,)


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


def use_liger(model: PreTrainedModel) -> None:
    """Give this model alone Liger's kernels for norms and gated products: on a GPU, where Liger is installed."""
    if model.device.type == "cuda" and is_liger_kernel_available():
        shared = vars(sys.modules[type(model).__module__])
        own = dict(shared)
        # Liger also replaces classes in the module of the model, for all models of its kind: those are put back.
        apply_liger_kernel(model, {"rope": False, "cross_entropy": False, "fused_linear_cross_entropy": False})
        shared.update(own)
