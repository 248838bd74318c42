"""Log-probability of single tokens under a model's frozen head, whose logits exist for a few positions at a time."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

HEAD_POSITIONS = 256
"""Number of positions whose logits exist at the same time."""


def token_logps(hidden: Tensor, head: nn.Linear, sources: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target at its source node, [targets]; `hidden` is [nodes, hidden]."""
    # Tokens that two answers share have the same source and target, and are predicted once.
    (nodes, wanted), which = torch.unique(torch.stack([sources, targets]), dim=1, return_inverse=True)
    predicting = hidden[nodes].to(head.weight.dtype)
    logps: Tensor = FrozenHeadLogProb.apply(predicting, head.weight, head.bias, wanted)
    return logps[which]


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
    logits = linear(hidden, head, bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
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
