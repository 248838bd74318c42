"""Linear layers and their low-rank adapters as one operation: fewer kernels, and no copies of tensors at hand.

The formula is peft's, y = x W' + b + s (x A') B', with one rounding of the sum instead of three.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, once_differentiable
from torch.nn.functional import linear

from loop.models.adapted import is_plain

Tensors = tuple[Tensor, ...]
Activation = Callable[[Tensor], Tensor]
Operands = tuple[Tensor, Tensor | None, Tensor, Tensor, float]
"""Frozen weight [out, in] and bias [out], the adapter's factors [rank, in] and [out, rank], and its scale."""
LARGE = 1e4
"""Factor over a layer's usual input: large enough that a layer which clamps shows it."""


class _Context(BackwardCFunction):
    """Values beside tensors that a forward keeps for its backward."""

    scale: float
    shape: torch.Size
    """Shape of the input."""
    numbers: tuple[torch.dtype, torch.dtype, torch.dtype]
    """Dtypes of the input and of the adapter's two factors."""
    activation: Activation
    """Activation of the gate; only in `Gated`."""


class Adapted(torch.autograd.Function):
    """A frozen linear layer under an adapter in training; it keeps its input and the narrow product for backward."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, *layer: object) -> Tensor:
        """[..., in] and Operands -> [..., out], in autocast's dtype where it is on."""
        result, rows, kept = _through(ctx, x, cast("Operands", layer))
        ctx.save_for_backward(rows, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the input, where it is wanted, and of both factors of the adapter."""
        rows, between, weight, narrow, wide = cast("Tensors", ctx.saved_tensors)
        input_too = ctx.needs_input_grad[0]  # not in the first layers: nothing below them is trained
        of_x, of_down, of_up = _back(ctx, gradient, rows, between, weight, narrow, wide, input_too=input_too)
        return of_x, None, None, of_down, of_up, None


class Gated(torch.autograd.Function):
    """The same for the product of an activated gate and another tensor; backward computes the product again."""

    @staticmethod
    def forward(ctx: _Context, gate: Tensor, other: Tensor, activation: Activation, *layer: object) -> Tensor:
        """[..., in] twice, the activation of the gate, and Operands -> [..., out]."""
        opened = activation(gate)
        # In place, unless the activation returned the gate itself, which backward needs as it is.
        product = opened * other if opened.data_ptr() == gate.data_ptr() else opened.mul_(other)
        result, _, kept = _through(ctx, product, cast("Operands", layer))
        ctx.save_for_backward(gate, other, *kept)
        ctx.activation = activation
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the gate, the other tensor, and both factors of the adapter."""
        gate, other, between, weight, narrow, wide = cast("Tensors", ctx.saved_tensors)
        # A backward runs without gradients; the product is made with them, so that autograd derives the activation.
        with torch.enable_grad():
            factors = gate.detach().requires_grad_(), other.detach().requires_grad_()
            product = ctx.activation(factors[0]) * factors[1]
        rows = product.detach().flatten(0, -2)
        of_product, of_down, of_up = _back(ctx, gradient, rows, between, weight, narrow, wide, input_too=True)
        of_gate, of_other = torch.autograd.grad(product, factors, of_product)
        return of_gate, of_other, None, None, None, of_down, of_up, None


def _through(ctx: _Context, x: Tensor, layer: Operands) -> tuple[Tensor, Tensor, Tensors]:
    """The result, the input as rows [rows, in], and the other tensors that `_back` needs."""
    weight, bias, down, up, scale = layer
    kind = x.device.type
    # The casts of autocast by hand: backward runs outside of it and needs operands of the same dtype.
    number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    rows, narrow, wide = (each.to(number) for each in (x.flatten(0, -2), down, up))
    between = rows @ narrow.T  # [rows, rank]
    result = linear(rows, weight.to(number), None if bias is None else bias.to(number))
    # Into the layer's own result: one rounding of the sum, and no second tensor [rows, out].
    result.addmm_(between, wide.T, alpha=scale)
    ctx.scale, ctx.shape, ctx.numbers = scale, x.shape, (x.dtype, down.dtype, up.dtype)
    return result.view(*x.shape[:-1], -1), rows, (between, weight, narrow, wide)


def _back(
    ctx: _Context,
    gradient: Tensor,
    rows: Tensor,
    between: Tensor,
    weight: Tensor,
    narrow: Tensor,
    wide: Tensor,
    *,
    input_too: bool,
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of the input, where it is wanted, and of both factors of the adapter."""
    # With g the gradient of y: that of x A' is s g B, from which those of A and x follow; that of B is s g' (x A').
    of_rows = gradient.flatten(0, -2)
    of_between = (of_rows @ wide).mul_(ctx.scale)
    of_x, of_down, of_up = None, of_between.T @ rows, (of_rows.T @ between).mul_(ctx.scale)
    if input_too:
        of_x = (of_rows @ weight.to(of_rows.dtype)).addmm_(of_between, narrow)
        of_x = of_x.view(ctx.shape).to(ctx.numbers[0])
    return of_x, of_down.to(ctx.numbers[1]), of_up.to(ctx.numbers[2])


def fuse(model: PeftModel) -> None:
    """Compute plain adapters of `model` over plain linear layers as one operation; all others stay as peft has them.

    peft's `disable_adapter` has no effect on the fused ones.
    """
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = MethodType(_forward, module)
    # After the layers, since a gated module is compared with its own layers as they are now, fused.
    for module in model.modules():
        if _is_gated(module):
            module.forward = MethodType(_gated, module)


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """While the block runs, everything is computed as transformers and peft do."""
    # `forward` of an instance shadows that of its class, which comes back when it is deleted.
    ours = {each: vars(each)["forward"] for each in model.modules() if _is_ours(vars(each).get("forward"))}
    for module in ours:
        del module.forward
    try:
        yield
    finally:
        for module, forward in ours.items():
            module.forward = forward


def _is_ours(forward: object) -> bool:
    return isinstance(forward, MethodType) and forward.__func__ in (_forward, _gated)


def _is_plain(layer: Linear) -> bool:
    """Whether a layer of peft's computes x W' + b + s (x A') B' in training too, without dropout."""
    return is_plain(layer) and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())


@torch.no_grad()
def _is_gated(module: nn.Module) -> bool:
    """Whether `module` is down(act(gate(x)) * up(x)): by its parts' names and by its results, for large inputs too."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    plain = [part for part in parts if isinstance(part, Linear) and _is_plain(part)]
    if len(plain) < len(parts) or not hasattr(module, "act_fn"):
        return False
    weight: Tensor = plain[0].base_layer.weight
    # Names alone do not tell: a layer of the same parts may clamp its gate.
    x = torch.linspace(-1, 1, weight.shape[1], dtype=weight.dtype, device=weight.device)
    x = torch.stack([x, LARGE * x])
    return torch.equal(module(x), _gated(module, x))


def _forward(layer: Linear, x: Tensor) -> Tensor:
    return cast("Tensor", Adapted.apply(x, *_operands(layer)))


def _gated(module: nn.Module, x: Tensor) -> Tensor:
    gate, other, down = (cast("Linear", part) for part in (module.gate_proj, module.up_proj, module.down_proj))
    return cast("Tensor", Gated.apply(gate(x), other(x), module.act_fn, *_operands(down)))


def _operands(layer: Linear) -> Operands:
    [name] = layer.active_adapters
    base = layer.base_layer
    return base.weight, base.bias, layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
