"""A pass gets as many tokens as its activations leave room for, and what cannot fit is refused with figures."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.profiler import profile
from transformers import AutoModelForCausalLM

from loop.errors import TrainingError
from loop.training import preflight
from loop.training.forward.choice import choose_layout
from loop.training.forward.logps import Scorer, score
from loop.training.forward.spans import spans
from loop.training.weights import activations, adapters
from tests.machine import machine
from tests.passes import passes
from tests.tiny import tiny_model
from tests.unit.test_training_logps import encoded

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT, LONG = (encoded(size, 5, size // 2) for size in (20, 200))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(AutoModelForCausalLM.from_pretrained(tiny_model(tmp_path_factory.mktemp("base"))))


def test_activations_grow_with_the_tokens_and_weights_do_not_count(scorer):
    each = [preflight.bytes_per_token(scorer, example) for example in (SHORT, LONG)]
    assert each[0] == pytest.approx(each[1], rel=0.2)
    hidden, layers = scorer.model.config.hidden_size, scorer.model.config.num_hidden_layers
    assert each[0] > 4 * 10 * hidden * layers
    weights = sum(4 * parameter.numel() for parameter in scorer.model.parameters())
    assert each[1] * LONG.size < 20 * weights


def alive(work: Callable[[], object]) -> int:
    """Bytes that `work`, done once more, leaves allocated for what it returns."""
    work()
    with profile(profile_memory=True) as memory:
        result = work()
    left = sum(event.self_cpu_memory_usage for event in memory.events())
    del result
    return left


def dropped(scorer: Scorer) -> None:
    assert score(scorer, [LONG]).logp.requires_grad


def measured(scorer: Scorer) -> None:
    preflight.bytes_per_token(scorer, LONG)


@pytest.mark.parametrize("work", [dropped, measured])
def test_a_pass_that_nobody_goes_back_through_leaves_nothing(scorer, work):
    assert 0 <= alive(partial(work, scorer)) < 0.01 * alive(partial(score, scorer, [LONG]))


def test_with_checkpoints_a_pass_keeps_less_and_has_the_same_gradients(tmp_path):
    scorers = []
    for checkpoints in (False, True):
        model = adapters.load(tiny_model(tmp_path), None, rank=4, seed=0, dtype=torch.float32, device="cpu")
        if checkpoints:
            activations.checkpoint_activations(model)
        scorers.append(Scorer(model.get_base_model()))
    scorers = [choose_layout(scorer, [SHORT, LONG]) for scorer in scorers]
    each = [preflight.bytes_per_token(scorer, LONG) * LONG.size for scorer in scorers]
    assert alive(partial(score, scorers[0], [LONG])) == pytest.approx(each[0], rel=0.2)
    assert alive(partial(score, scorers[1], [LONG])) < min(each[1], 0.3 * each[0])
    found = []
    for scorer in scorers:
        score(scorer, [SHORT, LONG]).logp.sum().backward()
        found.append([p.grad for p in scorer.model.parameters() if p.requires_grad])
    assert any(gradient.abs().max() > 0 for gradient in found[0])
    for plain, again in zip(*found, strict=True):
        assert torch.allclose(plain, again, rtol=1e-6, atol=1e-7)


def each_of(scorer: Scorer) -> float:
    return preflight.bytes_per_token(scorer, SHORT)


def room_for(scorer: Scorer, tokens: float, share: float) -> float:
    """Bytes of a machine that leaves so many tokens of a pass a share of what the model, all trained, does not take."""
    weights = sum(parameter.nbytes for parameter in scorer.model.parameters())
    return (1 + preflight.COPIES) * weights + tokens * each_of(scorer) / share


@pytest.mark.parametrize(("tokens", "chosen"), [(1_030, 1_024), (1_020, 512), (50_000, 8_192), (300, 256)])
def test_the_budget_is_a_power_of_two_that_fits(scorer, tmp_path, tokens, chosen):
    read = machine(tmp_path, installed=room_for(scorer, tokens, preflight.SHARE["cpu"]))
    assert preflight.budget(scorer, SHORT, LONG, read) == chosen


@pytest.mark.parametrize("free", [0, 2**20, 2**40])
def test_what_happens_to_be_free_does_not_change_the_budget(scorer, tmp_path, free):
    read = machine(tmp_path, installed=room_for(scorer, 1_030, preflight.SHARE["cpu"]), free=free)
    assert preflight.budget(scorer, SHORT, LONG, read) == 1_024
    preflight.require_room(replace(scorer, attention=None), SHORT, LONG, read)


@pytest.mark.parametrize(("wanted", "tokens", "said"), [(400, 400, ""), (9_000, 838, "lowered to 838 tokens:")])
def test_a_wanted_budget_holds_as_far_as_it_fits(scorer, tmp_path, caplog, wanted, tokens, said):
    read = machine(tmp_path, installed=room_for(scorer, 838.5, preflight.LARGEST_SHARE))
    assert preflight.budget(scorer, SHORT, LONG, read, wanted) == tokens
    assert said in caplog.text
    assert bool(said) == bool(caplog.records)


def test_processes_on_cpus_share_the_memory(scorer, tmp_path, monkeypatch):
    read = machine(tmp_path, installed=4 * room_for(scorer, 1_030, preflight.SHARE["cpu"]))
    assert preflight.budget(scorer, SHORT, LONG, read) >= 4_096
    # Four processes of torch would take seconds to meet.
    monkeypatch.setattr("loop.training.ranks.count", lambda: 4)
    assert preflight.budget(scorer, SHORT, LONG, read) == 1_024


@pytest.mark.parametrize(("weights", "fit"), [(6 * 2**30, True), (6 * 2**30 + 1, False)])
def test_weights_are_kept_whole_as_long_as_they_leave_a_quarter_of_the_memory(tmp_path, weights, fit):
    read = machine(tmp_path, installed=8 * 2**30)
    assert preflight.fit_whole(weights, torch.device("cpu"), read) is fit


def test_an_example_that_cannot_fit_is_refused_before_it_takes_the_memory(scorer, tmp_path):
    with pytest.raises(TrainingError, match="305 tokens needs") as told:
        preflight.budget(scorer, SHORT, LONG, machine(tmp_path, installed=room_for(scorer, 300.5, 0.5)))
    assert "set `max_tokens` under [training] to 300 or less" in told.value.remedy


def test_a_model_that_takes_all_memory_leaves_no_example_room(scorer, tmp_path):
    with pytest.raises(TrainingError, match=r"0\.00 GiB may be used") as told:
        preflight.budget(scorer, SHORT, LONG, machine(tmp_path, installed=2**16))
    assert told.value.remedy == "train where more memory is installed"


def test_an_example_that_cannot_fit_is_refused_before_any_pass_over_it(scorer, tmp_path):
    rows = replace(scorer, attention=None)
    each = preflight.bytes_per_token(rows, SHORT) * SHORT.size / rows.size([SHORT])
    width = room_for(scorer, 0, 1)
    largest = rows.size([LONG])
    enough = width + each * (largest + 2) / preflight.LARGEST_SHARE
    short = width + each * (largest - 2) / preflight.LARGEST_SHARE
    with passes() as seen:
        preflight.require_room(rows, SHORT, LONG, machine(tmp_path, installed=enough))
        with pytest.raises(TrainingError, match=f"{largest} tokens needs"):
            preflight.require_room(rows, SHORT, LONG, machine(tmp_path, installed=short))
    assert {rows * columns for rows, columns in seen} == {rows.size([SHORT])}


@pytest.mark.parametrize("attention", [spans, None])
def test_what_a_training_needs_is_more_than_what_its_passes_keep(tmp_path, attention):
    model = adapters.load(tiny_model(tmp_path), None, rank=4, seed=0, dtype=torch.float32, device="cpu")
    scorer = Scorer(model.get_base_model(), attention=attention)
    kept = alive(partial(score, scorer, [LONG]))
    adapter = sum(parameter.nbytes for parameter in adapters.trainable(model).values())
    need = preflight.needed(scorer, LONG, LONG.size)
    assert kept + preflight.COPIES * adapter < need < 2 * kept + preflight.COPIES * adapter
