"""The adapter that a training leaves: the mean of the last steps' adapters, in every case where there is one."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from loop.settings.constants import AVERAGE_SHARE
from loop.training import candidate
from loop.training.checkpoint import read
from loop.training.weights.adapters import put, trainable
from loop.training.weights.average import Average
from tests.unit.test_training_engine import SETTINGS, base, break_off, job, steps, whole

__all__ = ["base", "whole"]
pytestmark = pytest.mark.usefixtures("one_thread")


def with_weights(model: nn.Module, value: float) -> nn.Module:
    put(model, {name: torch.full_like(weight, value) for name, weight in trainable(model).items()})
    return model


def left_by(work) -> dict[str, torch.Tensor]:
    steps(work)
    return safetensors.torch.load_file(work.folder / "adapter_model.safetensors")


def kept_after(work, step: int) -> dict[str, torch.Tensor]:
    """The adapter in the checkpoint after `step`."""
    break_off(work, step)
    return read(work.folder / "checkpoint.pt")["adapter"]


def test_the_average_of_three_adapters_counts_each_the_same():
    model, average = nn.Linear(2, 2), Average()
    for value in (1.0, 4.0, 10.0):
        average.add(with_weights(model, value))
    average.put_into(model)
    assert torch.allclose(model.weight, torch.full((2, 2), 5.0))
    assert average.steps == 3


def test_an_average_of_nothing_leaves_the_adapter_as_it_is():
    model = with_weights(nn.Linear(2, 2), 3.0)
    Average().put_into(model)
    assert model.weight.eq(3.0).all()


def test_a_training_leaves_the_mean_of_its_last_adapters(base, tmp_path):
    assert AVERAGE_SHARE == 0.4
    last = [kept_after(job(base, tmp_path / str(step)), step) for step in (5, 6)]
    left = left_by(job(base, tmp_path / "left"))
    for name, weight in left.items():
        seen = torch.stack([adapter[name.replace(".weight", ".default.weight")] for adapter in last])
        assert torch.allclose(weight, seen.mean(0), atol=1e-6)


def test_a_training_of_one_step_leaves_that_step(base, tmp_path):
    one = replace(SETTINGS, epochs=0.1)
    last = kept_after(job(base, tmp_path / "a", settings=one), 1)
    left = left_by(job(base, tmp_path / "b", settings=one))
    assert all(weight.equal(last[name.replace(".weight", ".default.weight")]) for name, weight in left.items())


@pytest.mark.parametrize("killed_after", [3, 4, 5])
def test_an_average_that_was_begun_before_a_kill_ends_with_the_same_bytes(base, whole, tmp_path, killed_after):
    broken = job(base, tmp_path)
    break_off(broken, killed_after)
    assert read(broken.folder / "checkpoint.pt")["average"]["steps"] == max(0, killed_after - 4)
    steps(broken)
    assert candidate(broken).adapter_sha256 == whole.adapter_sha256
