"""A base model under an adapter, ready to answer; all adapters of a base share its weights, which never change."""

import copy
from itertools import chain
from pathlib import Path

from peft import PeftModel
from peft.tuners.lora import Linear, LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel


class Adapted(nn.Module):
    """A linear layer and its low-rank adapter: y = x W' + b + s (x A') B', the sum rounded once, as in training."""

    def __init__(self, layer: Linear) -> None:
        super().__init__()
        [name] = layer.active_adapters
        base = layer.base_layer
        self.weight, self.bias = base.weight, base.bias
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        # In the base's dtype: peft computes in the adapter's float32 beside a bfloat16 base, and those casts cost more
        # than the adapter's own products.
        self.down, self.up = (_frozen(each.to(base.weight.dtype)) for each in (down, up))
        self.scale: float = layer.scaling[name]

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows = x.flatten(0, -2)
        result = linear(rows, self.weight, self.bias)
        result.addmm_(linear(rows, self.down), self.up.T, alpha=self.scale)
        return result.view(*x.shape[:-1], -1)


def adapt(base: PreTrainedModel, adapter: Path, *, merge: bool) -> PreTrainedModel:
    """A model under the adapter of a folder; it shares with `base` all weights that the adapter does not change.

    With `merge` the adapter is added to copies of the other weights, else it stays apart.
    """
    # deepcopy takes what its memo names as copied already: modules become new, tensors stay the base's.
    shared = {id(tensor): tensor for tensor in chain(base.parameters(), base.buffers())}
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
    """Replace every plain layer of peft's by ours; all others stay."""
    # A list, since the loop changes the tree of modules that it walks.
    for parent in list(model.modules()):
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
