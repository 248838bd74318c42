"""The fused adapter computes what peft computes, in values and in gradients."""

import pytest
import torch
from peft import PeftModel
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import silu
from transformers import AutoModelForCausalLM

from loop.errors import TrainingError
from loop.training.forward.choice import choose_layout
from loop.training.forward.logps import Scorer, score
from loop.training.weights.lora import Adapted, Gated, fuse
from tests.tiny import adapted, tiny_model
from tests.unit.test_training_logps import EXAMPLES, gradients, loss_of

ROWS = 7
pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*sizes: int) -> torch.Tensor:
    return torch.randn(*sizes, dtype=torch.float64, requires_grad=True)


def kept(model: PeftModel, width: int) -> int:
    """Tensors of `width` columns that the first gated layer keeps for its backward."""
    layer = next(m for m in model.modules() if hasattr(m, "gate_proj"))
    storages = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[-1] == width and tensor.shape[-2] == ROWS:
            storages[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.ones(1, ROWS, model.config.hidden_size, requires_grad=True))
    return len(storages)


def test_its_gradients_are_those_of_its_values():
    torch.manual_seed(0)
    inputs = (drawn(2, 3, 5), drawn(4, 5).detach(), drawn(4).detach(), drawn(2, 5), drawn(4, 2), 1.7)
    assert torch.autograd.gradcheck(Adapted.apply, inputs)


@pytest.mark.parametrize("activation", [silu, lambda gate: gate, lambda gate: gate.view(-1).view_as(gate)])
def test_so_are_those_of_a_gated_product(activation):
    torch.manual_seed(0)
    layer = (drawn(4, 5).detach(), drawn(4).detach(), drawn(2, 5), drawn(4, 2), 1.7)
    assert torch.autograd.gradcheck(Gated.apply, (drawn(2, 3, 5), drawn(2, 3, 5), activation, *layer))


def test_a_gated_product_is_not_kept(tmp_path):
    model = adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path)))
    wide = model.config.intermediate_size
    before = kept(model, wide)
    fuse(model)
    assert (before, kept(model, wide)) == (4, 2)


def test_a_gated_layer_of_another_formula_stays_as_it_is(tmp_path):
    model = adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path)))
    [usual, other] = [m for m in model.modules() if hasattr(m, "gate_proj")][:2]
    other.forward = lambda x: other.down_proj(other.act_fn(other.gate_proj(x).clamp(max=10)) * other.up_proj(x))
    fuse(model)
    assert usual.forward.__name__ == "_gated"
    assert other.forward.__name__ == "<lambda>"


def test_a_model_that_is_fused_wrongly_is_not_trained(tmp_path):
    model = adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path)))
    fuse(model)
    right = choose_layout(Scorer(model.get_base_model()), EXAMPLES)
    assert right.attention is not None
    layer = next(each for each in model.modules() if hasattr(each, "lora_A"))
    # An offset that peft adds and the fused layer, made before there was one, leaves out.
    layer.lora_A["default"].bias = torch.nn.Parameter(torch.full((4,), 9.0))
    with pytest.raises(TrainingError, match="does not reproduce"):
        choose_layout(Scorer(model.get_base_model()), EXAMPLES)


@pytest.mark.parametrize(
    ("base", "dtype"),
    [(torch.float64, torch.float64), (torch.float32, torch.bfloat16), (torch.bfloat16, torch.bfloat16)],
)
def test_a_fused_model_scores_as_peft_does(tmp_path, base, dtype):
    model = adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path), dtype=base))
    if dtype is torch.float64:
        model.double()
    scorer = Scorer(model.get_base_model(), autocast=dtype is torch.bfloat16)
    before = score(scorer, EXAMPLES)
    wanted = gradients(scorer.model, loss_of(before, EXAMPLES))
    fuse(model)
    after = score(scorer, EXAMPLES)
    found = gradients(scorer.model, loss_of(after, EXAMPLES))
    exact = 10 * torch.finfo(dtype).eps
    assert torch.allclose(after.logp, before.logp, rtol=exact, atol=0)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() <= exact * b.norm()


def test_what_is_not_plain_stays_as_peft_has_it(tmp_path):
    model = adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path)))
    [layer, other] = [m for m in model.modules() if type(m).__name__ == "Linear" and hasattr(m, "lora_A")][:2]
    layer.lora_dropout["default"] = torch.nn.Dropout(0.1)
    fuse(model)
    assert "forward" not in vars(layer)
    assert "forward" in vars(other)
