"""The gradient of a batch: what its examples weigh is what it counts beside other batches."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from loop.settings import TrainingSettings
from loop.training.batch.tokens import Encoded
from loop.training.checkpoint import State
from loop.training.forward.logps import Scorer
from loop.training.objective.accumulate import accumulate, clip
from loop.training.objective.reference import Reference
from loop.training.weights.adapters import trainable
from tests.tiny import adapted, tiny_model
from tests.unit.test_training_logps import EXAMPLES, encoded

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def model(tmp_path: Path) -> PeftModel:
    return adapted(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path / "base"))).double()


def gradient(model: PeftModel, folder: Path, batch: list[Encoded]) -> torch.Tensor:
    model.zero_grad()
    scorer = Scorer(model.get_base_model())
    champion = Reference(model, scorer, folder / "reference.json")
    accumulate(scorer, champion, batch, State(budget=4_096), TrainingSettings())
    return torch.cat([parameter.grad.flatten() for parameter in trainable(model).values()])


def weighing(example: Encoded, weight: float) -> Encoded:
    return replace(example, credit=replace(example.credit, weight=weight))


def test_a_light_batch_has_a_small_gradient(model, tmp_path):
    usual, light = ([weighing(e, weight) for e in EXAMPLES] for weight in (1.0, 0.25))
    expected = 0.25 * gradient(model, tmp_path, usual)
    assert torch.allclose(gradient(model, tmp_path, light), expected, rtol=1e-9, atol=0)


def test_a_norm_of_0_cuts_nothing():
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip([parameter], [weighing(encoded(5, 4), 1.0)], 0.0) == pytest.approx(5.0)
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_a_batch_keeps_its_weight_when_it_is_cut():
    parameter = torch.nn.Parameter(torch.zeros(2))
    for weight, norm, cut in ((1.0, 5.0, 1.0), (0.5, 10.0, 0.5), (4.0, 1.25, 4.0), (8.0, 0.625, 5.0)):
        parameter.grad = torch.tensor([3.0, 4.0])
        batch = [weighing(encoded(5, 4), weight / 2), weighing(encoded(5, 3), 3 * weight / 2)]
        assert clip([parameter], batch, 1.0) == pytest.approx(norm)
        assert float(parameter.grad.norm()) == pytest.approx(cut, rel=1e-4)
