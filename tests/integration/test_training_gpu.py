"""On a GPU: a tree in blocks gives what separate answers give, in float32 and in bfloat16, and trainings run on it."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

from loop.machine import Machine
from loop.training import candidate, train
from loop.training.batch.tokens import Encoded
from loop.training.forward.blocks import blocks
from loop.training.forward.choice import choose_layout
from loop.training.forward.logps import Scorer, score
from loop.training.forward.spans import spans
from loop.training.weights import adapters
from tests.services import require
from tests.tiny import tiny_model
from tests.unit.test_training_engine import job
from tests.unit.test_training_logps import encoded

BATCHES = [[encoded(300, 90, 77, seed=0), encoded(50, 20, 130, seed=1)], [encoded(700, 33, 260, seed=2)]]
"""Neither multiples of a block nor of one size, so that the kernels are compiled for any."""


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    require("gpu", present=torch.cuda.is_available(), remedy="run this on a machine with one")


def scorer(dtype: torch.dtype) -> Scorer:
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = Qwen2Config(vocab_size=320, num_key_value_heads=2, initializer_range=0.1, **sizes)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").to(torch.bfloat16).to("cuda", dtype)
    adapted = adapters.begin(model, rank=4, seed=0)
    for name, weight in adapters.trainable(adapted).items():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return Scorer(adapted.get_base_model(), autocast=dtype is torch.bfloat16)


def loss_of(scored: Tensor, batch: list[Encoded]) -> Tensor:
    """By tokens, so that a random model's margins do not saturate it."""
    lengths = scored.new_tensor([len(answer.ids) for example in batch for answer in example.answers])
    means = scored / lengths
    return torch.nn.functional.softplus(means[1::2] - means[::2]).mean()


def found(scorer: Scorer, batch: list[Encoded]) -> tuple[Tensor, Tensor]:
    """Log-probabilities, and the gradient of a loss as one vector."""
    logp = score(scorer, batch).logp
    parts = torch.autograd.grad(loss_of(logp, batch), [*adapters.trainable(scorer.model).values()])
    return logp.detach(), torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("batch", BATCHES)
def test_blocks_give_the_values_and_gradients_of_separate_answers(batch):
    exact = scorer(torch.float32)
    wanted = found(replace(exact, attention=None), batch)
    for backend in (blocks, spans):
        logp, gradient = found(replace(exact, attention=backend), batch)
        assert torch.allclose(logp, wanted[0], rtol=1e-6, atol=1e-3)
        assert (gradient - wanted[1]).abs().max() <= 1e-4 * wanted[1].abs().max()


@pytest.mark.parametrize("batch", BATCHES)
def test_bfloat16_rounds_blocks_about_as_much_as_rows(batch):
    exact = found(replace(scorer(torch.float32), attention=None), batch)
    rounded = scorer(torch.bfloat16)
    apart = {}
    for backend in (blocks, None):
        _, gradient = found(replace(rounded, attention=backend), batch)
        apart[backend] = float((gradient - exact[1]).norm() / exact[1].norm())
    assert apart[blocks] <= 1.5 * apart[None]


def test_a_gpu_attends_in_blocks():
    assert choose_layout(scorer(torch.bfloat16), BATCHES[0]).attention is blocks


@pytest.mark.parametrize("checkpoints", [False, True])
def test_a_training_runs_on_the_gpu_and_ends_with_a_candidate(tmp_path, checkpoints):
    tiny = replace(job(tiny_model(tmp_path / "base"), tmp_path), dtype="bfloat16")
    steps = list(train(tiny, machine=Machine(processes=1, activation_checkpoints=checkpoints)))
    assert steps[-1].step == steps[-1].of
    assert candidate(tiny).metrics["skipped"] == 0
