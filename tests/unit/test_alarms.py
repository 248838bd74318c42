"""A training that went wrong says so by its own figures; one that went well says nothing."""

import pytest

from loop.alarms import alarms

WELL = {"chosen_logp_drift": 0.2, "kl": 0.1, "reward_margin": 2.0}


def test_a_training_that_went_well_raises_no_alarm():
    assert alarms(WELL) == {}
    assert alarms({"nll": 0.4}) == {}
    assert alarms({"nll": 0.4, "dropped": 2.0, "examples": 98.0}) == {}
    assert alarms(WELL | {"accuracy": 0.5, "accuracy_shorter": 0.2}) == {}


@pytest.mark.parametrize(
    ("figures", "name", "said"),
    [
        ({"chosen_logp_drift": -0.25}, "chosen_falls", "0.25 nats a token"),
        ({"kl": 0.8}, "far_from_champion", "0.80 nats"),
        ({"kl": 2e-6}, "hardly_moved", "2e-06 nats"),
        ({"dropped": 226.0, "examples": 24.0}, "many_left_out", "226 of 250 examples"),
        ({"reward_margin": 31.0}, "margin_explodes", "reward of 31"),
        ({"accuracy": 0.7, "accuracy_shorter": 0.2}, "length_wins", "20%"),
    ],
)
def test_each_fault_has_its_alarm_with_the_figure(figures, name, said):
    assert [*alarms(WELL | figures)] == [name]
    assert said in alarms(WELL | figures)[name]


def test_of_an_only_step_which_is_measured_before_it_is_taken_nobody_knows_how_far_it_went():
    assert alarms(WELL | {"kl": 0.0, "steps": 1}) == {}
    assert "hardly_moved" in alarms(WELL | {"kl": 0.0, "steps": 2})


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        ({"steps": 9, "steps_planned": 9, "budget_hit": 0.0}, "`epochs` and `min_steps`"),
        ({"steps": 5, "steps_planned": 9, "budget_hit": 1.0}, "the budget that cut it short"),
    ],
)
def test_a_training_that_hardly_moved_is_told_what_ended_it(ended, said):
    assert f"raise `learning_rate` or {said}" in alarms(WELL | {"kl": 2e-6} | ended)["hardly_moved"]
