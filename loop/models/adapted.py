"""A base model under an adapter, ready to answer; the base's weights stay as they are and are shared by all."""

import copy
from pathlib import Path

from peft import PeftModel
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel


class Adapted(nn.Module):
    """A linear layer and its low-rank adapter: y = x W' + b + s (x A') B', the sum rounded once, as in training.

    Peft's own layer computes the same in float32 beside a bfloat16 base, which costs more than the adapter's work.
    """

    def __init__(self, layer: Linear) -> None:
        super().__init__()
        [name] = layer.active_adapters
        base = layer.base_layer
        self.weight, self.bias = base.weight, base.bias
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        self.down, self.up = (_frozen(each.to(base.weight.dtype)) for each in (down, up))
        self.scale: float = layer.scaling[name]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows = x.flatten(0, -2)
        result = linear(rows, self.weight, self.bias)
        result.addmm_(linear(rows, self.down), self.up.T, alpha=self.scale)
        return result.view(*x.shape[:-1], -1)


def adapt(base: PreTrainedModel, adapter: Path, *, merge: bool) -> PreTrainedModel:
    """A model of its own that shares with `base` all weights which the adapter of a folder leaves alone.

    With `merge` the adapter goes into copies of the others, else it stays apart.
    """
    shared = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    own = copy.deepcopy(base, shared)
    wrapped = PeftModel.from_pretrained(own, adapter, use_safetensors=True, low_cpu_mem_usage=True)
    if not merge:
        _replace(own)
        return own
    for module in wrapped.modules():
        if isinstance(module, LoraLayer):  # peft merges in place
            layer = module.get_base_layer()
            layer.weight = _frozen(layer.weight.clone())
    merged: PreTrainedModel = wrapped.merge_and_unload()
    return merged


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


def _replace(model: nn.Module) -> None:
    """Every plain layer of peft's by ours; all others stay."""
    for parent in [*model.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, Linear) and is_plain(child):
                setattr(parent, name, Adapted(child))


def is_plain(layer: Linear) -> bool:
    """Whether a layer of peft's computes x W' + b + s (x A') B' once its dropout is off."""
    return (
        type(layer.base_layer) is nn.Linear
        and len(layer.active_adapters) == 1
        and not layer.lora_variant
        and not any(layer.lora_bias.values())
    )
