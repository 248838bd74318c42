"""Linear layers and their low-rank adapters as one operation: fewer kernels and no copy of what is already there.

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
"""Times what a layer is usually given: enough to show where one clamps."""


class _Context(BackwardCFunction):
    scale: float
    shape: torch.Size
    """Of the input."""
    numbers: tuple[torch.dtype, torch.dtype, torch.dtype]
    """Of the input and of the adapter's two factors."""
    activation: Activation


class Adapted(torch.autograd.Function):
    """A frozen linear layer under an adapter in training; keeps its input and the narrow product for backward."""

    @staticmethod
    def forward(ctx: _Context, x: Tensor, *layer: object) -> Tensor:
        """[..., in] and Operands -> [..., out], in autocast's numbers, if it is on."""
        result, rows, kept = _through(ctx, x, cast("Operands", layer))
        ctx.save_for_backward(rows, *kept)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of the input, where it is wanted, and of both factors of the adapter."""
        rows, *kept = cast("Tensors", ctx.saved_tensors)
        of_x, of_down, of_up = _back(ctx, gradient, rows, *kept, input_too=ctx.needs_input_grad[0])
        return of_x, None, None, of_down, of_up, None


class Gated(torch.autograd.Function):
    """The same of the product of an activated gate and another tensor; keeps these two and makes the product again."""

    @staticmethod
    def forward(ctx: _Context, gate: Tensor, other: Tensor, activation: Activation, *layer: object) -> Tensor:
        """[..., in] twice, what the gate goes through, and Operands -> [..., out]."""
        opened = activation(gate)
        product = opened * other if opened.data_ptr() == gate.data_ptr() else opened.mul_(other)
        result, _, kept = _through(ctx, product, cast("Operands", layer))
        ctx.save_for_backward(gate, other, *kept)
        ctx.activation = activation
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Of the gate, the other tensor, and both factors of the adapter."""
        gate, other, *kept = cast("Tensors", ctx.saved_tensors)
        with torch.enable_grad():
            factors = gate.detach().requires_grad_(), other.detach().requires_grad_()
            product = ctx.activation(factors[0]) * factors[1]
        rows = product.detach().flatten(0, -2)
        of_product, of_down, of_up = _back(ctx, gradient, rows, *kept, input_too=True)
        of_gate, of_other = torch.autograd.grad(product, factors, of_product)
        return of_gate, of_other, None, None, None, of_down, of_up, None


def _through(ctx: _Context, x: Tensor, layer: Operands) -> tuple[Tensor, Tensor, Tensors]:
    """The result, the input as rows, and what else `_back` needs."""
    weight, bias, down, up, scale = layer
    kind = x.device.type
    number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    rows, narrow, wide = (each.to(number) for each in (x.flatten(0, -2), down, up))
    between = rows @ narrow.T
    result = linear(rows, weight.to(number), None if bias is None else bias.to(number))
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
    of_rows = gradient.flatten(0, -2)
    of_between = (of_rows @ wide).mul_(ctx.scale)
    of_x, of_down, of_up = None, of_between.T @ rows, (of_rows.T @ between).mul_(ctx.scale)
    if input_too:
        of_x = (of_rows @ weight.to(of_rows.dtype)).addmm_(of_between, narrow)
        of_x = of_x.view(ctx.shape).to(ctx.numbers[0])
    return of_x, of_down.to(ctx.numbers[1]), of_up.to(ctx.numbers[2])


def fuse(model: PeftModel) -> None:
    """Compute every plain adapter of `model` over a plain linear layer so; all others stay as peft has them.

    peft's `disable_adapter` has no effect on those that are fused.
    """
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = MethodType(_forward, module)
    for module in model.modules():
        if _is_gated(module):
            module.forward = MethodType(_gated, module)


@contextmanager
def unfused(model: nn.Module) -> Iterator[None]:
    """Everything is computed as transformers and peft do while the block runs."""
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
    return is_plain(layer) and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())


@torch.no_grad()
def _is_gated(module: nn.Module) -> bool:
    """Whether it is down(act(gate(x)) * up(x)), by its parts' names and by what it computes, of large numbers too."""
    parts = [getattr(module, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    plain = [part for part in parts if isinstance(part, Linear) and _is_plain(part)]
    if len(plain) < len(parts) or not hasattr(module, "act_fn"):
        return False
    weight: Tensor = plain[0].base_layer.weight
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
