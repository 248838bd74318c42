"""A linear layer and its low-rank adapter as one operation: fewer kernels and no copy of what is already there.

The formula is peft's, y = x W' + b + s (x A') B', with one rounding of the sum instead of three.
"""

from types import MethodType
from typing import cast

import torch
from peft import PeftModel
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn.functional import linear

Gradients = tuple[Tensor | None, None, None, Tensor, Tensor, None]


class _Context(BackwardCFunction):
    scale: float
    numbers: tuple[torch.dtype, torch.dtype, torch.dtype]
    """Of the input and of the adapter's two factors."""


class Adapted(torch.autograd.Function):
    """A frozen linear layer under an adapter in training; keeps its input and the narrow product for backward."""

    @staticmethod
    def forward(
        ctx: _Context, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scale: float
    ) -> Tensor:
        """[..., in], [out, in], [out], [rank, in], [out, rank] -> [..., out], in autocast's numbers, if it is on."""
        kind = x.device.type
        number = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        rows, narrow, wide = (each.to(number) for each in (x.flatten(0, -2), down, up))
        between = rows @ narrow.T
        result = linear(rows, weight.to(number), None if bias is None else bias.to(number))
        result.addmm_(between, wide.T, alpha=scale)
        ctx.save_for_backward(rows, between, weight, narrow, wide)
        ctx.scale, ctx.numbers = scale, (x.dtype, down.dtype, up.dtype)
        return result.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: _Context, gradient: Tensor) -> Gradients:
        """Of the input, where it is wanted, and of both factors of the adapter."""
        rows, between, weight, narrow, wide = cast("tuple[Tensor, ...]", ctx.saved_tensors)
        of_rows = gradient.flatten(0, -2)
        of_between = (of_rows @ wide).mul_(ctx.scale)
        of_x, of_down, of_up = None, of_between.T @ rows, (of_rows.T @ between).mul_(ctx.scale)
        if ctx.needs_input_grad[0]:
            of_x = (of_rows @ weight.to(of_rows.dtype)).addmm_(of_between, narrow)
            of_x = of_x.view(*gradient.shape[:-1], -1).to(ctx.numbers[0])
        return of_x, None, None, of_down.to(ctx.numbers[1]), of_up.to(ctx.numbers[2]), None


def fuse(model: PeftModel) -> None:
    """Compute every plain adapter of `model` over a plain linear layer so; all others stay as peft has them."""
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = MethodType(_forward, module)


def _is_plain(layer: Linear) -> bool:
    return (
        type(layer.base_layer) is nn.Linear
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
        and all(isinstance(dropout, nn.Identity) for dropout in layer.lora_dropout.values())
    )


def _forward(layer: Linear, x: Tensor) -> Tensor:
    [name] = layer.active_adapters
    base, down, up = layer.base_layer, layer.lora_A[name].weight, layer.lora_B[name].weight
    return cast("Tensor", Adapted.apply(x, base.weight, base.bias, down, up, layer.scaling[name]))
