"""The losses against their papers' formulas, in plain numbers."""

from dataclasses import replace
from itertools import permutations
from math import exp, log, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loop.training.objective import losses

LOGP = st.floats(min_value=-400, max_value=0)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def pair(chosen: float, rejected: float, chosen_reference: float, rejected_reference: float) -> losses.Pairs:
    """One pair of answers of 4 and 5 tokens."""
    logps = map(vector, (chosen, rejected, chosen_reference, rejected_reference))
    return losses.Pairs(*logps, torch.tensor([4]), torch.tensor([5]))


EXAMPLE = pair(-10.0, -20.0, -12.0, -19.0)


@given(LOGP, LOGP)
def test_dpo_is_ln_2_where_policy_and_reference_agree(chosen, rejected):
    assert losses.dpo(pair(chosen, rejected, chosen, rejected), beta=0.1).item() == pytest.approx(log(2))


def test_dpo_follows_its_formula_and_falls_with_the_margin():
    loss = losses.dpo(EXAMPLE, beta=0.5)
    assert loss.item() == pytest.approx(-log(sigmoid(0.5 * (2 + 1))))
    assert losses.dpo(pair(-9.0, -20.0, -12.0, -19.0), beta=0.5) < loss


@given(LOGP, LOGP, st.floats(min_value=-50, max_value=0))
def test_dpo_does_not_see_what_both_answers_share(chosen, rejected, common):
    alone = losses.dpo(pair(chosen, rejected, -5.0, -7.0), beta=0.1)
    moved = losses.dpo(pair(chosen + common, rejected + common, -5.0, -7.0), beta=0.1)
    assert moved.item() == pytest.approx(alone.item(), rel=1e-9)


@pytest.mark.parametrize("loss", [losses.conservative, losses.robust])
def test_without_disagreement_both_are_dpo(loss):
    assert loss(EXAMPLE, beta=0.5, disagreement=0.0).item() == pytest.approx(losses.dpo(EXAMPLE, beta=0.5).item())


def test_conservative_dpo_wants_the_margin_that_fits_the_disagreement():
    best = log(0.8 / 0.2) / 0.5
    at = [losses.conservative(pair(m, 0.0, 0.0, 0.0), beta=0.5, disagreement=0.2) for m in (best - 1, best, best + 1)]
    assert at[1] < min(at[0], at[2])
    assert at[1].item() == pytest.approx(-0.8 * log(0.8) - 0.2 * log(0.2))


@given(st.floats(-30, 30))
def test_robust_dpo_over_wrong_labels_is_on_average_dpo_over_right_ones(margin):
    right, wrong = pair(margin, 0.0, 0.0, 0.0), pair(0.0, margin, 0.0, 0.0)
    seen = [losses.robust(pairs, beta=0.3, disagreement=0.2).item() for pairs in (right, wrong)]
    assert 0.8 * seen[0] + 0.2 * seen[1] == pytest.approx(losses.dpo(right, beta=0.3).item(), abs=1e-9)


def test_ipo_follows_its_formula_on_means_over_tokens():
    assert losses.ipo(EXAMPLE, beta=0.5).item() == pytest.approx((2 / 4 + 1 / 5 - 1) ** 2)


def test_apo_zero_raises_the_chosen_answer_whatever_the_rejected_one_does():
    assert losses.apo_zero(EXAMPLE, beta=0.5).item() == pytest.approx(1 - sigmoid(1.0) + sigmoid(-0.5))
    chosen, rejected = vector(-10.0).requires_grad_(), vector(-20.0).requires_grad_()
    losses.apo_zero(replace(EXAMPLE, chosen=chosen, rejected=rejected), beta=0.5).sum().backward()
    assert chosen.grad.item() == pytest.approx(-0.5 * sigmoid(1.0) * sigmoid(-1.0))
    assert rejected.grad.item() == pytest.approx(0.5 * sigmoid(-0.5) * sigmoid(0.5))


def test_simpo_asks_no_reference():
    loss = losses.simpo(EXAMPLE, beta=2.0, gap=0.5).item()
    assert loss == pytest.approx(-log(sigmoid(2.0 * (-10 / 4 + 20 / 5) - 0.5)))
    assert losses.simpo(pair(-10.0, -20.0, -1.0, -1.0), beta=2.0, gap=0.5).item() == loss


def ranked(rewards: list[float], scores: list[float], beta: float = 0.5) -> tuple[torch.Tensor, list[float]]:
    """Loss of one ranking whose answers have these rewards over a reference of -7, and its gradient at the answers."""
    logp = torch.tensor([[reward / beta - 7 for reward in rewards]], dtype=torch.float64, requires_grad=True)
    loss = losses.plackett_luce(beta * (logp + 7), vector(*scores)[None])
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss, (gradient[0] / beta).tolist()


def chosen_in_turn(rewards: list[float], order: tuple[int, ...]) -> float:
    """Plackett-Luce probability of an order: each answer in turn is chosen from those that are left."""
    probability = 1.0
    for place, answer in enumerate(order):
        left = [exp(rewards[other]) for other in order[place:]]
        probability *= exp(rewards[answer]) / sum(left)
    return probability


REWARDS = st.lists(st.floats(-8, 8), min_size=2, max_size=5)


@given(REWARDS)
def test_the_loss_of_a_ranking_is_the_negative_log_probability_of_its_order(rewards):
    loss, _ = ranked(rewards, scores=[-float(place) for place in range(len(rewards))])
    assert loss.item() == pytest.approx(-log(chosen_in_turn(rewards, tuple(range(len(rewards))))), rel=1e-9, abs=1e-12)


@given(REWARDS)
def test_the_gradient_of_a_ranking_is_that_of_its_probability(rewards):
    order, step = tuple(range(len(rewards))), 1e-5
    _, gradient = ranked(rewards, scores=[-float(place) for place in order])
    for place in order:
        around = []
        for moved in (rewards[place] + step, rewards[place] - step):
            nearby = [moved if other == place else reward for other, reward in enumerate(rewards)]
            around.append(-log(chosen_in_turn(nearby, order)))
        assert gradient[place] == pytest.approx((around[0] - around[1]) / (2 * step), abs=1e-7)


def test_the_probabilities_of_all_orders_of_four_answers_sum_to_one():
    rewards, total = [0.3, -1.2, 2.0, 0.7], 0.0
    for order in permutations(range(4)):
        scores = [0.0] * 4
        for place, answer in enumerate(order):
            scores[answer] = -float(place)
        total += exp(-ranked(rewards, scores)[0].item())
    assert total == pytest.approx(1.0)


@given(LOGP, LOGP)
def test_a_ranking_of_two_is_dpo_in_value_and_gradient(better, worse):
    logps = [vector(value).requires_grad_() for value in (better, worse)]
    expected = losses.dpo(losses.Pairs(*logps, vector(-7.0), vector(-9.0), *torch.tensor([[4], [5]])), beta=0.5)
    both = torch.stack(logps, dim=1)
    found = losses.plackett_luce(0.5 * (both - vector(-7.0, -9.0)), vector(0.2, -1.0)[None])
    # Both round rewards of hundreds of nats, of which a loss near 0 is the difference.
    assert found.item() == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)
    wanted = torch.autograd.grad(expected.sum(), logps)
    for mine, theirs in zip(torch.autograd.grad(found.sum(), logps), wanted, strict=True):
        assert mine.item() == pytest.approx(theirs.item(), abs=1e-12)


def test_answers_of_one_score_are_not_compared():
    loss, gradient = ranked([0.3, -1.2, 2.0], scores=[1.0, 1.0, -1.0])
    assert loss.item() == pytest.approx(-log(sigmoid(0.3 - 2.0)) - log(sigmoid(-1.2 - 2.0)))
    alone, _ = ranked([0.3, 0.0, 2.0], scores=[1.0, 1.0, -1.0])
    assert gradient[0] == pytest.approx(-sigmoid(2.0 - 0.3))
    assert loss.item() - alone.item() == pytest.approx(log(sigmoid(-2.0)) - log(sigmoid(-3.2)))


def test_a_shorter_ranking_beside_a_longer_one_has_the_loss_and_gradient_that_it_has_alone():
    rewards = torch.tensor([[0.3, -2.0, 0.1], [-0.5, 1.0, -0.5]], dtype=torch.float64, requires_grad=True)
    scores = torch.tensor([[1.0, 0.0, -1.0], [1.0, -1.0, nan]], dtype=torch.float64)
    together = losses.plackett_luce(rewards, scores)
    alone = losses.plackett_luce(rewards[1:, :2], scores[1:, :2])
    assert together[1].item() == pytest.approx(alone.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(together[1], rewards, retain_graph=True)
    (wanted,) = torch.autograd.grad(alone.sum(), rewards)
    assert torch.allclose(gradient, wanted, rtol=0, atol=1e-15)
    assert gradient[1, 2] == 0


def test_bco_pushes_approved_answers_above_delta_and_others_below():
    sides = vector(1.0, -1.0)
    loss = losses.bco(vector(-8.0, -8.0), vector(-10.0, -10.0), sides, delta=0.3, beta=0.1)
    assert loss.tolist() == pytest.approx([-log(sigmoid(0.2 - 0.3)), -log(sigmoid(0.3 - 0.2))])


def test_kto_follows_its_formula_with_a_reference_point_of_at_least_zero():
    sides = vector(1.0, -1.0)
    below = losses.kto(vector(-8.0, -8.0), vector(-10.0, -10.0), sides, delta=-5.0, beta=0.1)
    assert below.tolist() == pytest.approx([1 - sigmoid(0.2), 1 - sigmoid(-0.2)])
    above = losses.kto(vector(-8.0, -8.0), vector(-10.0, -10.0), sides, delta=0.3, beta=0.1)
    assert above.tolist() == pytest.approx([1 - sigmoid(-0.1), 1 - sigmoid(0.1)])


@pytest.mark.parametrize("loss", [losses.bco, losses.kto])
@pytest.mark.parametrize("side", [1.0, -1.0])
def test_unpaired_losses_move_the_answer_the_way_its_user_said(loss, side):
    logp = vector(-10.0).requires_grad_()
    loss(logp, vector(-10.0), vector(side), delta=0.0, beta=0.1).sum().backward()
    assert (logp.grad < 0).item() is (side > 0)


@given(LOGP, LOGP, st.integers(min_value=1, max_value=500))
def test_the_kl_estimate_is_never_negative_and_zero_at_the_champion(logp, reference, length):
    estimate = losses.token_kl(vector(logp), vector(reference), torch.tensor([length]))
    assert estimate.item() >= 0
    assert losses.token_kl(vector(logp), vector(logp), torch.tensor([length])).item() == 0
