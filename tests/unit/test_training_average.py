"""The adapter that a training leaves: the mean of the last steps' adapters, in every case where there is one."""

from dataclasses import replace

import pytest
import safetensors.torch
import torch
from torch import nn

from loop.training import candidate
from loop.training.checkpoint import read
from loop.training.weights.adapters import put, trainable
from loop.training.weights.average import Average
from tests.unit.test_training_engine import SETTINGS, base, break_off, examples, job, steps

__all__ = ["base"]
pytestmark = pytest.mark.usefixtures("one_thread")
RARE = replace(SETTINGS, checkpoint_minutes=60.0)


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


def test_while_the_average_stands_in_the_adapter_in_training_is_kept():
    model, average = nn.Linear(2, 2), Average()
    average.add(with_weights(model, 1.0))
    with_weights(model, 2.0)
    with average.standing_in(model):
        assert model.weight.eq(1.0).all()
    assert model.weight.eq(2.0).all()


def test_a_training_leaves_the_mean_of_its_last_adapters(base, tmp_path):
    settings = replace(SETTINGS, average_share=0.5)
    last = [kept_after(job(base, tmp_path / str(step), settings=settings), step) for step in (4, 5, 6)]
    left = left_by(job(base, tmp_path / "left", settings=settings))
    for name, weight in left.items():
        seen = torch.stack([adapter[name.replace(".weight", ".default.weight")] for adapter in last])
        assert torch.allclose(weight, seen.mean(0), atol=1e-6)


def test_without_a_share_the_last_adapter_is_left(base, tmp_path):
    settings = replace(SETTINGS, average_share=0.0)
    last = kept_after(job(base, tmp_path / "a", settings=settings), 6)
    left = left_by(job(base, tmp_path / "b", settings=settings))
    assert all(weight.equal(last[name.replace(".weight", ".default.weight")]) for name, weight in left.items())


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_training_of_one_step_leaves_that_step(base, tmp_path, share):
    one = replace(SETTINGS, epochs=0.1, average_share=share)
    last = left_by(job(base, tmp_path / "a", settings=replace(one, average_share=0.0)))
    left = left_by(job(base, tmp_path / "b", settings=one))
    assert all(weight.equal(last[name]) for name, weight in left.items())


@pytest.mark.parametrize("killed_after", [2, 4, 5])
def test_an_average_that_was_begun_before_a_kill_ends_with_the_same_bytes(base, tmp_path, killed_after):
    settings = replace(SETTINGS, average_share=0.7)
    whole, broken = job(base, tmp_path / "a", settings=settings), job(base, tmp_path / "b", settings=settings)
    steps(whole)
    break_off(broken, killed_after)
    assert read(broken.folder / "checkpoint.pt")["average"]["steps"] == max(0, killed_after - 2)
    steps(broken)
    assert candidate(broken).adapter_sha256 == candidate(whole).adapter_sha256


def test_a_look_sees_what_the_training_would_leave(base, tmp_path):
    """Looks neither change the training nor see the adapter in it: the last, best one is the average."""
    plain = replace(RARE, average_share=0.5, epochs=1.0)
    looking = replace(plain, patience=9, look_every=1)
    left = left_by(job(base, tmp_path / "a", settings=plain))
    work = replace(job(base, tmp_path / "b", settings=looking), dev=examples(5))
    seen = [step.metrics["dev_loss"] for step in steps(work)]
    assert seen.index(min(seen)) == len(seen) - 1
    looked = safetensors.torch.load_file(work.folder / "adapter_model.safetensors")
    assert all(weight.equal(left[name]) for name, weight in looked.items())
