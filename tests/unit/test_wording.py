"""Figures as people read them: what differs never looks equal, and nothing looks like something."""

import numpy as np
import pytest

from evals import stats
from evals.wording import count, effect, p_value, points, signed


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((0.018, -0.02, 0.056), "+1.8 points [-2.0, +5.6]"),
        ((0.018, -0.0002, 0.0362), "+1.80 points [-0.02, +3.62]"),
        ((0.0, -0.05, 0.05), "0.0 points [-5.0, +5.0]"),
        ((1e-17, -1e-17, 1e-17), "no difference for anybody"),
        ((0.1, 0.1, 0.1), "+10.0 points [+10.0, +10.0]"),
        ((0.1, 0.1 - 1e-15, 0.1 + 1e-15), "+10.0 points [+10.0, +10.0]"),
    ],
)
def test_an_effect_that_is_not_zero_does_not_look_like_zero(found: tuple[float, float, float], said: str) -> None:
    assert effect(*found) == said


def test_a_bound_that_missed_its_margin_does_not_look_as_if_it_had_met_it() -> None:
    assert signed(-0.0204, -0.02) == ("-2.04", "-2.00")


@pytest.mark.parametrize(
    ("found", "said"), [(0.05003, "p = 0.05003"), (0.18, "p = 0.18"), (5e-5, "p < 0.001"), (0.001, "p = 0.001")]
)
def test_a_p_value_above_the_level_does_not_look_like_the_level(found: float, said: str) -> None:
    assert p_value(found, needed=0.05) == said


def test_a_level_below_a_thousandth_has_its_p_values_in_full() -> None:
    assert p_value(5e-5, needed=1e-4) == "p = 5e-05"


def test_counts_and_sizes() -> None:
    assert (count(1, "user"), count(0, "user"), count(1200, "item")) == ("1 user", "0 users", "1,200 items")
    assert points(0.02) == "2.0 points"


def test_an_interval_of_three_users_ends_where_scores_end() -> None:
    found = stats.estimate(np.array([1.0, -1.0, 1.0]), 3)
    assert (found.low, found.high) == (-1.0, 1.0)
