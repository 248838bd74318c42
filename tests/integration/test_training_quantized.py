"""QLoRA: a base in four bits has the gradients of its dequantized weights, and its adapter fits the whole base."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from peft import PeftModel
from transformers import AutoModelForCausalLM

from loop.errors import TrainingError
from loop.machine import Machine
from loop.models import load_base
from loop.models.quiet import quiet
from loop.training import train
from loop.training.forward.logps import Scorer, score
from loop.training.weights import adapters
from tests.tiny import tiny_model
from tests.unit.test_training_engine import SETTINGS, job
from tests.unit.test_training_logps import EXAMPLES, gradients, loss_of

pytestmark = pytest.mark.usefixtures("one_thread")
FOUR_BITS = replace(SETTINGS, quantize="nf4")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def loaded(base: Path, *, quantized: bool) -> PeftModel:
    model = adapters.load(base, None, rank=4, seed=0, dtype=torch.float32, device="cpu", quantized=quantized)
    adapters.put(model, {name: torch.full_like(p, 0.01) for name, p in adapters.trainable(model).items()})
    return model


@torch.no_grad()
def rounded(whole: PeftModel, quantized: PeftModel) -> PeftModel:
    """`whole` with the weights that four bits have left of its own."""
    for name, module in quantized.named_modules():
        if type(module).__name__ == "Linear4bit" and name.endswith("base_layer"):
            weight = whole.get_submodule(name).weight
            weight.copy_(dequantize_4bit(module.weight.data, module.weight.quant_state))
    return whole


def test_a_base_in_four_bits_has_the_gradients_of_its_dequantized_weights(base):
    quantized = loaded(base, quantized=True)
    whole = loaded(base, quantized=False)
    untouched = score(Scorer(whole.get_base_model()), EXAMPLES).logp
    models = [quantized.get_base_model(), rounded(whole, quantized).get_base_model()]
    with torch.no_grad():
        first = score(Scorer(models[0]), EXAMPLES).logp
    scored = [score(Scorer(model), EXAMPLES) for model in models]
    assert torch.equal(first, scored[0].logp)
    assert torch.allclose(scored[0].logp, scored[1].logp, rtol=1e-4, atol=0)
    assert not torch.allclose(scored[0].logp, untouched, rtol=1e-4, atol=0)
    found, wanted = (gradients(m, loss_of(s, EXAMPLES)) for m, s in zip(models, scored, strict=True))
    largest = max(gradient.abs().max() for gradient in wanted)
    assert max((a - b).abs().max() for a, b in zip(found, wanted, strict=True)) <= 1e-3 * largest


@pytest.mark.parametrize("again", [False, True])
def test_a_training_on_four_bits_learns_and_its_adapter_fits_the_whole_base(base, tmp_path, again):
    steps = list(train(job(base, tmp_path, settings=FOUR_BITS), machine=Machine(activation_checkpoints=again)))
    assert steps[-1].metrics["nll"] < steps[0].metrics["nll"]
    with quiet():
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), tmp_path / "candidates" / "one")


@torch.no_grad()
def test_a_base_whose_files_are_in_four_bits_is_read_as_such(base, tmp_path):
    model = adapters.load(base, None, rank=4, seed=0, dtype=torch.float32, device="cpu", quantized=True)
    wanted = score(Scorer(model.get_base_model()), EXAMPLES).logp
    model.unload().save_pretrained(tmp_path)
    found = score(Scorer(load_base(tmp_path, torch.float32)), EXAMPLES).logp
    assert torch.allclose(found, wanted, rtol=1e-4, atol=0)


def test_four_bits_are_not_divided(base):
    with pytest.raises(TrainingError, match="do not go together"):
        adapters.load(base, None, rank=4, seed=0, dtype=torch.float32, device="cpu", sharded=True, quantized=True)


def test_without_bitsandbytes_it_says_what_to_install(base, tmp_path, monkeypatch):
    # transformers remembers what it found when it was first asked, so hiding the package would come too late.
    monkeypatch.setattr("loop.training.weights.adapters.is_bitsandbytes_available", lambda: False)
    with pytest.raises(TrainingError, match="bitsandbytes") as refused:
        list(train(job(base, tmp_path, settings=FOUR_BITS)))
    assert "nightshift-loop[qlora]" in refused.value.remedy
