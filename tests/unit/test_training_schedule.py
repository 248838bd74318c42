"""Order, learning rate and grouping are pure functions that can be checked by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.settings import TrainingSettings
from loop.training.schedule import affordable, batches, families, progress, rate
from loop.training.tokens import Answer, Encoded
from loop.types import Objective


def alone(count: int) -> list[list[int]]:
    return [[index] for index in range(count)]


def test_each_epoch_shows_every_example_once_and_in_another_order():
    flat = [index for batch in batches(alone(10), epochs=2.0, batch=4, seed=0) for index in batch]
    assert sorted(flat[:10]) == sorted(flat[10:]) == list(range(10))
    assert flat[:10] != flat[10:]


def test_half_an_epoch_shows_half_of_the_examples():
    shown = Counter(index for batch in batches(alone(10), epochs=1.5, batch=4, seed=0) for index in batch)
    assert sum(shown.values()) == 15
    assert set(shown.values()) == {1, 2}


def test_the_order_depends_on_the_seed_alone():
    assert batches(alone(50), 1.0, 8, seed=1) == batches(alone(50), 1.0, 8, seed=1)
    assert batches(alone(50), 1.0, 8, seed=1) != batches(alone(50), 1.0, 8, seed=2)


def test_a_budget_of_tokens_ends_a_training_before_the_batch_that_would_exceed_it():
    cut, sizes = [[0, 1], [2], [3]], [10, 20, 30, 40]
    assert affordable(cut, sizes, 0) == cut
    assert affordable(cut, sizes, 60) == affordable(cut, sizes, 99) == cut[:2]
    assert affordable(cut, sizes, 5) == cut[:1]


def test_the_rate_rises_to_its_peak_and_falls_towards_zero():
    settings = TrainingSettings(learning_rate=1e-3, warmup_share=0.1)
    rates = [rate(progress(step, 100, 0.0, 0.0), settings) for step in range(100)]
    assert rates[0] == pytest.approx(5e-5)
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_short_decay_leaves_the_rate_at_its_peak_until_then():
    settings = TrainingSettings(learning_rate=1e-3, warmup_share=0.1, decay_share=0.3)
    rates = [rate(progress(step, 100, 0.0, 0.0), settings) for step in range(100)]
    assert set(rates[10:70]) == {1e-3}
    assert rates[70:] == sorted(rates[70:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_training_that_time_will_cut_short_still_reaches_its_peak_and_cools_down():
    settings = TrainingSettings(learning_rate=1e-3, warmup_share=0.1)
    rates = [rate(progress(step, 1_000, 30.0 * step, 120.0), settings) for step in range(4)]
    assert max(rates) > 9e-4
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 2e-4


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_defined_for_all_shares(share, warmup, decay):
    settings = TrainingSettings(learning_rate=1e-3, warmup_share=warmup, decay_share=decay)
    assert 0 <= rate(share, settings) <= 1e-3


def test_training_ends_by_steps_when_there_is_time_left():
    assert progress(9, 10, 30.0, 3_600.0) == pytest.approx(0.95)
    assert progress(0, 10, 4_000.0, 3_600.0) == 1.0


def test_a_family_is_a_conversation_and_stays_together():
    prompts = [(1, 2, 3, 4), (9,), (1, 2), (1, 3), (1, 2, 3, 5), (1, 2)]
    found = families([Encoded(Objective.PAIR, p, (Answer((0,), (1.0,)),), True, 1.0, 0.0) for p in prompts])
    assert found == [[2, 5, 0, 4], [1], [3]]
    [together, *others] = batches(found, epochs=1.0, batch=6, seed=3)
    assert not others
    places = [together.index(index) for index in found[0]]
    assert places == list(range(places[0], places[0] + 4))
