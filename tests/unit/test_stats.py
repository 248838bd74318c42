"""The statistics of the gate: exactness against brute force, and size and power by simulation."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import stats

differences = st.lists(st.floats(-1, 1, allow_nan=False).map(lambda x: round(x, 3)), min_size=1, max_size=8)


def users_with_a_taste(rng: np.random.Generator, users: int, items: int, icc: float, effect: float = 0.0) -> np.ndarray:
    """Score differences, shape (users, items): normal, with intra-cluster correlation `icc`."""
    taste = rng.normal(0, np.sqrt(icc), size=(users, 1))
    return effect + taste + rng.normal(0, np.sqrt(1 - icc), size=(users, items))


@given(differences)
def test_the_exact_p_value_is_the_share_of_all_sign_assignments(values: list[float]) -> None:
    observed = sum(values)
    sums = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = sum(total >= observed - 1e-9 for total in sums) / len(sums)
    assert stats.sign_flip_p(np.array(values), seed=0) == pytest.approx(expected)


def test_the_exact_and_the_sampled_p_value_agree_where_they_meet() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, size=stats.EXACT_UP_TO)
    doubled = np.append(values, 0.0)  # a cluster without a difference changes no sum, but leaves the exact range
    assert stats.sign_flip_p(doubled, seed=2) == pytest.approx(stats.sign_flip_p(values, seed=2), abs=0.01)


def test_a_sampled_p_value_is_never_zero_and_depends_on_nothing_but_its_seed() -> None:
    values = np.full(40, 0.5)
    assert stats.sign_flip_p(values, seed=3) == 1 / (stats.RANDOM_FLIPS + 1)
    noisy = np.random.default_rng(4).normal(0.1, 1, size=40)
    assert stats.sign_flip_p(noisy, seed=5) == stats.sign_flip_p(noisy, seed=5)


@pytest.mark.parametrize("users", [15, 60, 333])
def test_the_flips_of_a_seed_stay_the_same_in_later_versions(users: int) -> None:
    """The p of a recorded decision is in its id: evidence that is decided again has to give it again."""
    values = np.random.default_rng(users).normal(0.03, 0.3, size=users)
    rng = np.random.default_rng(11)
    reached = 0
    for _ in range(10):
        signs = np.where(rng.integers(0, 2, size=(2_000, users), dtype=bool), 1.0, -1.0)
        reached += np.count_nonzero(signs @ values >= values.sum() - 1e-9)
    assert 0 < reached < 20_000
    assert stats.sign_flip_p(values, seed=11) == (reached + 1) / 20_001


def test_no_difference_at_all_is_no_evidence() -> None:
    assert stats.sign_flip_p(np.zeros(10), seed=0) == 1.0
    assert stats.sign_flip_p(np.zeros(50), seed=0) == 1.0


def test_a_user_with_many_items_is_one_vote() -> None:
    means = stats.cluster_means([1.0] * 98 + [-0.5, 0.0], ["loud"] * 98 + ["quiet", "other"])
    assert means.tolist() == [1.0, 0.0, -0.5]  # in the order of the names


def test_counting_items_instead_of_users_fires_on_nothing_and_clusters_do_not() -> None:
    rng = np.random.default_rng(6)
    nights, users, items = 2_000, 60, 5
    by_item = by_user = 0
    for _ in range(nights):
        drawn = users_with_a_taste(rng, users, items, icc=0.3)
        flat, means = drawn.ravel(), drawn.mean(axis=1)
        by_item += flat.mean() / (flat.std(ddof=1) / np.sqrt(flat.size)) > 1.645
        by_user += stats.estimate(means, flat.size).mean > 1.671 * stats.estimate(means, flat.size).standard_error
    assert by_item / nights == pytest.approx(0.14, abs=0.02)
    assert by_user / nights == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize("users", [8, 12])
def test_the_superiority_test_keeps_its_level_exactly_for_few_users(users: int) -> None:
    rng = np.random.default_rng(users)
    nights = 2_000
    promoted = sum(
        stats.sign_flip_p(users_with_a_taste(rng, users, 5, icc=0.3).mean(axis=1), seed=0) <= 0.05
        for _ in range(nights)
    )
    assert 0.03 < promoted / nights < 0.065


def test_a_true_difference_of_one_mde_is_found_with_power_point_eight() -> None:
    rng = np.random.default_rng(7)
    nights, users = 150, 50
    truth = stats.minimum_detectable_effect(1 / np.sqrt(users), stats.critical_z(0.05))
    found = sum(stats.sign_flip_p(rng.normal(truth, 1, size=users), seed=0) <= 0.05 for _ in range(nights))
    assert found / nights == pytest.approx(0.8, abs=0.1)


def test_the_interval_holds_the_truth_in_95_of_100_nights() -> None:
    rng = np.random.default_rng(8)
    estimates = [stats.estimate(rng.normal(0.2, 1, size=9), items=9) for _ in range(3_000)]
    covered = np.mean([found.low <= 0.2 <= found.high for found in estimates])
    assert covered == pytest.approx(0.95, abs=0.012)


def test_one_user_says_nothing_of_others() -> None:
    found = stats.estimate(np.array([0.9]), items=30)
    assert (found.low, found.high) == (-1.0, 1.0)
    assert not stats.non_inferior(found, margin=0.02, z=1.645)


def test_non_inferiority_is_decided_by_the_lower_bound_against_the_margin() -> None:
    means = np.tile([0.1, -0.1], 50)  # mean 0, SE 0.01005
    found = stats.estimate(means, items=100)
    assert stats.non_inferior(found, margin=0.02, z=1.645)
    assert not stats.non_inferior(found, margin=0.0165, z=1.645)


def test_a_candidate_at_the_margin_passes_a_guard_in_5_of_100_nights() -> None:
    rng = np.random.default_rng(9)
    passed = [
        stats.non_inferior(stats.estimate(rng.normal(-0.02, 0.1, size=200), items=200), margin=0.02, z=1.645)
        for _ in range(4_000)
    ]
    assert np.mean(passed) == pytest.approx(0.05, abs=0.012)
