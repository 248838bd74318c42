"""The losses against their papers' formulas, in plain numbers."""

from math import exp, log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loop.training import losses

LOGP = st.floats(min_value=-400, max_value=0)


def vector(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


@given(LOGP, LOGP)
def test_dpo_is_ln_2_where_policy_and_reference_agree(chosen, rejected):
    loss = losses.dpo(vector(chosen), vector(rejected), vector(chosen), vector(rejected), beta=0.1)
    assert loss.item() == pytest.approx(log(2))


def test_dpo_follows_its_formula_and_falls_with_the_margin():
    loss = losses.dpo(vector(-10.0), vector(-20.0), vector(-12.0), vector(-19.0), beta=0.5)
    assert loss.item() == pytest.approx(-log(sigmoid(0.5 * (2 + 1))))
    better = losses.dpo(vector(-9.0), vector(-20.0), vector(-12.0), vector(-19.0), beta=0.5)
    assert better < loss


@given(LOGP, LOGP, st.floats(min_value=-50, max_value=0))
def test_dpo_does_not_see_what_both_answers_share(chosen, rejected, common):
    alone = losses.dpo(vector(chosen), vector(rejected), vector(-5.0), vector(-7.0), beta=0.1)
    moved = losses.dpo(vector(chosen + common), vector(rejected + common), vector(-5.0), vector(-7.0), beta=0.1)
    assert moved.item() == pytest.approx(alone.item(), rel=1e-9)


def test_bco_pushes_desirable_answers_above_delta_and_others_below():
    desirable = torch.tensor([True, False])
    loss = losses.bco(vector(-8.0, -8.0), vector(-10.0, -10.0), desirable, delta=0.3, beta=0.1)
    assert loss.tolist() == pytest.approx([-log(sigmoid(0.2 - 0.3)), -log(sigmoid(0.3 - 0.2))])


def test_kto_follows_its_formula_with_a_reference_point_of_at_least_zero():
    desirable = torch.tensor([True, False])
    below = losses.kto(vector(-8.0, -8.0), vector(-10.0, -10.0), desirable, delta=-5.0, beta=0.1)
    assert below.tolist() == pytest.approx([1 - sigmoid(0.2), 1 - sigmoid(-0.2)])
    above = losses.kto(vector(-8.0, -8.0), vector(-10.0, -10.0), desirable, delta=0.3, beta=0.1)
    assert above.tolist() == pytest.approx([1 - sigmoid(-0.1), 1 - sigmoid(0.1)])


@pytest.mark.parametrize("loss", [losses.bco, losses.kto])
@pytest.mark.parametrize("desirable", [True, False])
def test_unpaired_losses_move_the_answer_the_way_its_user_said(loss, desirable):
    logp = vector(-10.0).requires_grad_()
    loss(logp, vector(-10.0), torch.tensor([desirable]), delta=0.0, beta=0.1).sum().backward()
    assert (logp.grad < 0).item() is desirable


@given(LOGP, LOGP, st.integers(min_value=1, max_value=500))
def test_the_kl_estimate_is_never_negative_and_zero_at_the_champion(logp, reference, length):
    estimate = losses.token_kl(vector(logp), vector(reference), torch.tensor([length]))
    assert estimate.item() >= 0
    assert losses.token_kl(vector(logp), vector(logp), torch.tensor([length])).item() == 0
