"""A mixed batch is the weighted mean of its examples' losses, whatever it is cut into."""

from dataclasses import replace
from math import exp, log

import pytest
import torch

from loop.errors import TrainingError
from loop.settings import PairSettings, TrainingSettings
from loop.training.batch.credit import Credit
from loop.training.batch.tokens import Answer, Encoded
from loop.training.forward.logps import Scored
from loop.training.objective import losses, metrics, mixed
from loop.training.objective.vectors import gather
from loop.types import Objective

CPU = torch.device("cpu")
SETTINGS = TrainingSettings(pair=PairSettings(beta=0.1))


def made(kind: Objective, *, desirable: bool = True, weight: float = 1.0, nll_share: float = 0.0) -> Encoded:
    answers = (Answer((5, 6, 7, 2), (1.0,) * 4),) * (2 if kind is Objective.PAIR else 1)
    scores = (1.0, -1.0)[: len(answers)] if desirable else (-1.0,)
    return Encoded((1, 2), answers, Credit(kind, scores, weight, nll_share))


MIXED = [
    made(Objective.PAIR, weight=2.0, nll_share=0.2),
    made(Objective.UNPAIRED, desirable=False, weight=0.5),
    made(Objective.DEMONSTRATION, nll_share=1.0),
]
SCORED = Scored(
    logp=torch.tensor([-9.0, -12.0, -8.0, -4.0], dtype=torch.float64),
    nll=torch.tensor([2.0, 3.0, 2.0, 1.0], dtype=torch.float64),
)
REFERENCE = torch.tensor([-10.0, -10.0, -10.0, 0.0], dtype=torch.float64)


def minus_log_sigmoid(x: float) -> float:
    return log(1 + exp(-x))


def test_the_loss_of_a_mixed_batch_can_be_computed_by_hand():
    batch = gather(MIXED, CPU)
    parts = mixed.example_losses(batch, SCORED, REFERENCE, 0.05, SETTINGS)
    pair = minus_log_sigmoid(0.1 * (1 + 2)) + 0.2 * 2.0
    thumb = minus_log_sigmoid(0.05 - 0.2)
    demonstration = 1.0
    expected = 2.0 * pair + 0.5 * thumb + 1.0 * demonstration
    assert mixed.weighted_sum(parts, batch).item() == pytest.approx(expected)
    measured = metrics.measure(batch, SCORED, REFERENCE, parts, SETTINGS.pair.beta)
    assert measured["loss"] == pytest.approx(expected / 3.5)
    assert measured["accuracy"] == 1.0
    assert measured["reward_margin"] == pytest.approx(0.3)
    assert measured["chosen_logp_drift"] == pytest.approx(1.0 / 4)
    assert measured["nll"] == pytest.approx(1.5)


def test_a_ranking_is_compared_as_a_whole_beside_other_examples():
    ranking = Encoded((1, 2), (MIXED[0].answers[0],) * 3, Credit(Objective.RANKING, (1.0, 0.2, -1.0), 0.5, 0.2))
    scored = Scored(
        logp=torch.cat([torch.tensor([-7.0, -9.0, -8.0]).double(), SCORED.logp]),
        nll=torch.cat([torch.tensor([1.5, 2.0, 2.5]).double(), SCORED.nll]),
    )
    reference = torch.cat([torch.tensor([-8.0, -8.0, -8.0]).double(), REFERENCE])
    batch = gather([ranking, *MIXED], CPU)
    parts = mixed.example_losses(batch, scored, reference, 0.05, replace(SETTINGS, kl_coefficient=2.0))
    best, middle, worst = exp(0.1), exp(-0.1), exp(0.0)
    order = -log(best / (best + middle + worst)) - log(middle / (middle + worst))
    drift = losses.token_kl(scored.logp, reference, batch.lengths)[:3].mean().item()
    assert parts["ranking"].tolist() == pytest.approx([order, 0.0, 0.0, 0.0])
    assert sum(part[0].item() for part in parts.values()) == pytest.approx(order + 0.2 * 1.5 + 2 * drift)
    measured = metrics.measure(batch, scored, reference, parts, SETTINGS.pair.beta)
    assert measured["ranking_loss"] == pytest.approx(order)
    # Its best and its worst answer count beside those of the pair.
    assert measured["reward_margin"] == pytest.approx((0.1 + 0.3) / 2)
    assert measured["accuracy"] == 1.0


def test_under_simpo_a_ranking_counts_by_token_and_without_the_reference():
    ranking = Encoded((1, 2), (MIXED[0].answers[0],) * 3, Credit(Objective.RANKING, (1.0, 0.2, -1.0), 1.0, 0.0))
    scored = Scored(torch.tensor([-8.0, -4.0, -12.0]).double(), torch.zeros(3).double())
    settings = replace(SETTINGS, pair=PairSettings(type="simpo", beta=2.0))
    parts = mixed.example_losses(gather([ranking], CPU), scored, torch.zeros(3).double(), 0.0, settings)
    best, middle, worst = (exp(2.0 * logp / 4) for logp in (-8.0, -4.0, -12.0))
    order = -log(best / (best + middle + worst)) - log(middle / (middle + worst))
    assert parts["ranking"].item() == pytest.approx(order)


def test_a_kl_coefficient_adds_how_far_compared_answers_have_come_from_the_champion():
    batch = gather(MIXED, CPU)
    plain, held = (
        mixed.example_losses(batch, SCORED, REFERENCE, 0.05, replace(SETTINGS, kl_coefficient=weight))
        for weight in (0.0, 2.0)
    )
    drift = losses.token_kl(SCORED.logp, REFERENCE, batch.lengths).tolist()
    assert plain["kl"].tolist() == [0.0] * len(MIXED)
    assert held["kl"].tolist() == pytest.approx([drift[0] + drift[1], 2 * drift[2], 0.0])


def test_metrics_of_kinds_that_are_absent_are_left_out():
    batch = gather(MIXED[2:], CPU)
    scored = Scored(SCORED.logp[3:], SCORED.nll[3:])
    parts = mixed.example_losses(batch, scored, REFERENCE[3:], 0.0, SETTINGS)
    measured = metrics.measure(batch, scored, REFERENCE[3:], parts, SETTINGS.pair.beta)
    assert set(measured) == {"loss", "nll"}


def test_a_wrong_reference_is_noticed_before_anything_is_learnt():
    batch = gather(MIXED, CPU)
    metrics.check_first(batch, SCORED, SCORED.logp, torch.float32)
    with pytest.raises(TrainingError, match="100% of the answers"):
        metrics.check_first(batch, SCORED, REFERENCE, torch.float32)


def test_answers_that_earlier_nights_made_very_unlikely_are_rounded_by_more_than_others():
    batch = gather(MIXED, CPU)
    reference = -15.0 * batch.lengths.double()
    moved = Scored(reference + 0.8 * batch.lengths.sqrt(), SCORED.nll)
    metrics.check_first(batch, moved, reference, torch.bfloat16)
    with pytest.raises(TrainingError, match="before the first step"):
        metrics.check_first(batch, moved, reference, torch.float32)
    with pytest.raises(TrainingError, match="before the first step"):
        metrics.check_first(batch, moved, reference / 15, torch.bfloat16)


def test_delta_follows_the_mean_reward_of_both_classes():
    batch = gather([made(Objective.UNPAIRED), made(Objective.UNPAIRED, desirable=False)], CPU)
    scored = Scored(torch.tensor([-6.0, -12.0]).double(), torch.zeros(2).double())
    reference = torch.tensor([-10.0, -10.0]).double()
    assert metrics.next_delta(batch, scored, reference, 0.5) == pytest.approx(0.9 * 0.5 + 0.1 * 0.1)


def test_delta_stays_where_a_batch_has_no_unpaired_example():
    batch = gather(MIXED[2:], CPU)
    scored = Scored(SCORED.logp[3:], SCORED.nll[3:])
    assert metrics.next_delta(batch, scored, REFERENCE[3:], 0.25) == 0.25
