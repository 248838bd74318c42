"""Order, learning rate and grouping are pure functions that can be checked by hand."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.settings import TrainingSettings
from loop.training.batch.credit import Credit
from loop.training.batch.schedule import MOST_SHOWINGS, affordable, batches, families, order, showings
from loop.training.batch.tokens import Answer, Encoded
from loop.training.rate import behind, rate
from loop.types import Objective


def alone(count: int) -> list[list[int]]:
    return [[index] for index in range(count)]


def test_each_epoch_shows_every_example_once_and_in_another_order():
    shown = order(alone(10), epochs=2.0, seed=0)
    assert sorted(shown[:10]) == sorted(shown[10:]) == list(range(10))
    assert shown[:10] != shown[10:]


def test_half_an_epoch_shows_half_of_the_examples():
    shown = Counter(order(alone(10), epochs=1.5, seed=0))
    assert sum(shown.values()) == 15
    assert set(shown.values()) == {1, 2}


def test_few_examples_are_shown_more_often_until_there_are_enough_steps():
    settings = TrainingSettings(epochs=2.0, batch_examples=4, min_steps=40)
    assert showings(64, settings) == 40 * 4 / 64
    assert showings(80, settings) == showings(1_000, settings) == 2.0
    assert showings(3, settings) == MOST_SHOWINGS
    assert showings(3, replace(settings, epochs=20.0)) == 20.0
    assert showings(3, replace(settings, min_steps=0)) == 2.0


def test_the_order_depends_on_the_seed_alone():
    assert order(alone(50), 1.0, seed=1) == order(alone(50), 1.0, seed=1)
    assert order(alone(50), 1.0, seed=1) != order(alone(50), 1.0, seed=2)


def test_a_step_sees_a_batch_and_the_last_one_what_is_left():
    assert batches([4, 2, 0, 1, 3], 2) == [[4, 2], [0, 1], [3]]


def test_a_budget_of_tokens_leaves_out_the_oldest_and_keeps_the_order():
    shown, sizes = [2, 0, 3, 1], [10, 20, 30, 40]
    assert affordable(shown, sizes, 0) == affordable(shown, sizes, 100) == shown
    assert affordable(shown, sizes, 99) == affordable(shown, sizes, 90) == [2, 3, 1]
    assert affordable(shown, sizes, 75) == [2, 3]
    assert affordable(shown, sizes, 5) == [3]


def test_a_budget_of_tokens_shows_all_examples_once_before_the_newest_twice():
    shown, sizes = [2, 0, 3, 1, 1, 3, 0, 2], [10, 20, 30, 40]
    assert affordable(shown, sizes, 100) == [2, 0, 3, 1]
    assert affordable(shown, sizes, 175) == [2, 0, 3, 1, 3, 2]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.floats(0.1, 3.0), st.integers(1, 2_000))
def test_a_budget_of_tokens_is_kept_and_shows_no_older_example_more_often(sizes, epochs, budget):
    every = order(alone(len(sizes)), epochs, seed=0)
    shown = affordable(every, sizes, budget)
    assert len(shown) == 1 or sum(sizes[index] for index in shown) <= budget
    assert not Counter(shown) - Counter(every)
    if epochs == int(epochs):
        times = [shown.count(index) for index in range(len(sizes))]
        assert times == sorted(times)


def test_the_rate_rises_to_its_peak_and_falls_towards_zero():
    rates = [rate(behind(step, 100, 0.0, 0.0), 1e-3, warmup=0.1) for step in range(100)]
    assert rates[0] == pytest.approx(5e-5)
    assert rates[:10] == sorted(rates[:10])
    assert max(rates) == pytest.approx(1e-3, rel=1e-3)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_short_decay_leaves_the_rate_at_its_peak_until_then():
    rates = [rate(behind(step, 100, 0.0, 0.0), 1e-3, warmup=0.1, decay=0.3) for step in range(100)]
    assert set(rates[10:70]) == {1e-3}
    assert rates[70:] == sorted(rates[70:], reverse=True)
    assert 0 < rates[-1] < 1e-5


def test_a_training_that_time_will_cut_short_still_reaches_its_peak_and_cools_down():
    rates = [rate(behind(step, 1_000, 30.0 * step, 120.0), 1e-3, warmup=0.1, decay=1.0) for step in range(4)]
    assert max(rates) > 9e-4
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] < 2e-4


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_rate_is_defined_for_all_shares(share, warmup, decay):
    assert 0 <= rate(share, 1e-3, warmup, decay) <= 1e-3


def test_training_ends_by_steps_when_there_is_time_left():
    assert behind(9, 10, 30.0, 3_600.0) == pytest.approx(0.95)
    assert behind(0, 10, 4_000.0, 3_600.0) == 1.0


def test_a_family_is_a_conversation_and_stays_together():
    prompts = [(1, 2, 3, 4), (9,), (1, 2), (1, 3), (1, 2, 3, 5), (1, 2)]
    credit = Credit(Objective.PAIR, (1.0, -1.0), weight=1.0, nll_share=0.0)
    found = families([Encoded(p, (Answer((0,), (1.0,)),), credit) for p in prompts])
    assert found == [[2, 5, 0, 4], [1], [3]]
    together = order(found, epochs=1.0, seed=3)
    places = [together.index(index) for index in found[0]]
    assert places == list(range(places[0], places[0] + 4))
