"""A pass gets as many tokens as its activations leave room for, and what cannot fit is refused with figures."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.profiler import profile
from transformers import AutoModelForCausalLM

from loop.errors import TrainingError
from loop.training import adapters, preflight
from loop.training.logps import Scorer, choose_layout, score
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
            adapters.checkpoint_activations(model)
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


@pytest.mark.parametrize(("gibibytes", "tokens"), [(1, 8_192), (0.03, 512)])
def test_the_budget_is_a_power_of_two_that_fits(scorer, monkeypatch, gibibytes, tokens):
    monkeypatch.setattr(preflight, "bytes_per_token", lambda *_: 20_000.0)
    monkeypatch.setattr(preflight, "free_bytes", lambda _: gibibytes * 2**30)
    assert preflight.budget(scorer, SHORT, LONG) == tokens


@pytest.mark.parametrize(("wanted", "tokens", "said"), [(400, 400, ""), (9_000, 838, "lowered to 838:")])
def test_a_wanted_budget_holds_as_far_as_it_fits(scorer, monkeypatch, caplog, wanted, tokens, said):
    monkeypatch.setattr(preflight, "bytes_per_token", lambda *_: 20_000.0)
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 2**25)
    assert preflight.budget(scorer, SHORT, LONG, wanted) == tokens
    assert said in caplog.text
    assert bool(said) == bool(caplog.records)


def test_processes_on_cpus_share_the_memory(scorer, monkeypatch):
    monkeypatch.setattr(preflight, "bytes_per_token", lambda *_: 20_000.0)
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 2**27)
    alone = preflight.budget(scorer, SHORT, LONG)
    monkeypatch.setattr("loop.training.ranks.count", lambda: 4)
    assert preflight.budget(scorer, SHORT, LONG) == alone / 4


def test_an_example_that_cannot_fit_is_refused_before_it_takes_the_memory(scorer, monkeypatch):
    monkeypatch.setattr(preflight, "free_bytes", lambda _: 1 << 20)
    with pytest.raises(TrainingError, match="305 tokens needs"):
        preflight.budget(scorer, SHORT, LONG)


def test_an_example_that_cannot_fit_is_refused_before_any_pass_over_it(scorer, monkeypatch):
    rows, asked = replace(scorer, attention=None), []
    monkeypatch.setattr(preflight, "score", lambda scorer, examples: (asked.extend(examples), score(scorer, examples)))
    each = preflight.bytes_per_token(rows, SHORT) * SHORT.size / rows.size([SHORT])
    monkeypatch.setattr(preflight, "free_bytes", lambda _: int(each * (LONG.size + 2) / preflight.SHARE))
    preflight.require_room(rows, SHORT, LONG)
    monkeypatch.setattr(preflight, "free_bytes", lambda _: int(each * (LONG.size - 2) / preflight.SHARE))
    with pytest.raises(TrainingError, match="305 tokens needs"):
        preflight.require_room(rows, SHORT, LONG)
    assert LONG not in asked


def test_a_control_group_counts_where_it_leaves_less(tmp_path: Path, monkeypatch):
    whole = preflight.free_bytes(torch.device("cpu"))
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    monkeypatch.setattr(preflight, "CGROUP", tmp_path)
    assert preflight.free_bytes(torch.device("cpu")) == 3_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert preflight.free_bytes(torch.device("cpu")) == pytest.approx(whole, rel=0.2)
