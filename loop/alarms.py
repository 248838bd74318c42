"""Alarms: faults of a training that its metrics show, long before an evaluation would."""

from collections.abc import Mapping

FALLEN = 0.1
"""Nats per token by which preferred answers may become less likely."""
FARTHEST = 0.5
"""Largest KL from the champion, in nats per token; beyond it a model's answers are of another style."""
NEAREST = 1e-4
"""Least KL from the champion, in nats per token; rounding of bfloat16 alone makes 1e-5 (SmolLM2 on GSM8K, learning
rate 0)."""
LENGTH_WINS, LEARNT = 0.4, 0.6
"""Length wins where the accuracy is below the first on pairs whose shorter answer was preferred, and above the second
on all pairs, so that something was learnt."""
WIDEST = 20.0
"""Largest difference of reward between preferred and other answers; users never agree so clearly."""

SHOWN = "`epochs` and `min_steps`"
"""Keys that say how often an example is shown: the one that asks for more decides."""

MOST_LEFT_OUT = 0.1
"""Largest share of the examples that is left out: a few are always empty or too long."""


def alarms(metrics: Mapping[str, float]) -> dict[str, str]:
    """Alarms by name, each with what is wrong and what to do; `metrics` are means over the training's last quarter."""
    # The READMEs may name every alarm; tests find them by `found["..."]` in this file.
    found = {}
    # Metrics that a training did not take have a value that raises no alarm.
    drift = metrics.get("chosen_logp_drift", 0.0)
    if drift < -FALLEN:
        found["chosen_falls"] = (
            f"the answers that users prefer became less likely, by {-drift:.2f} nats a token: lower "
            "`learning_rate`, or set `type` under [training.pair] to `apo_zero`, which has a term of its own for them"
        )
    if metrics.get("kl", 0.0) > FARTHEST:
        found["far_from_champion"] = (
            f"the candidate's answers are {metrics['kl']:.2f} nats a token (KL) from the champion's, another voice: "
            f"lower `learning_rate` or {SHOWN}"
        )
    # A step is measured before it is taken: of a training with a single one nobody knows how far it went.
    if metrics.get("kl", FARTHEST) < NEAREST and metrics.get("steps") != 1:
        found["hardly_moved"] = (
            f"the candidate's answers are {metrics['kl']:.1g} nats a token (KL) from the champion's, as good as the "
            f"same: raise `learning_rate` or {what_ended(metrics)}"
        )
    if metrics.get("reward_margin", 0.0) > WIDEST:
        found["margin_explodes"] = (
            f"preferred answers lead by a reward of {metrics['reward_margin']:.0f}, more than users ever agree: "
            f"lower {SHOWN}, or set `type` under [training.pair] to `ipo` or `conservative`"
        )
    if metrics.get("accuracy_shorter", 1.0) < LENGTH_WINS and metrics["accuracy"] > LEARNT:
        found["length_wins"] = (
            f"longer answers win whatever users say (right in {metrics['accuracy_shorter']:.0%} of pairs whose shorter "
            f"one was preferred): set `type` under [training.pair] to `simpo`, which counts by token, or lower {SHOWN}"
        )
    left_out, examples = metrics.get("dropped", 0.0), metrics.get("examples", 0.0)
    if left_out > MOST_LEFT_OUT * (left_out + examples):
        found["many_left_out"] = (
            f"{left_out:.0f} of {left_out + examples:.0f} examples were not trained on: raise `max_tokens` if they are "
            "longer, as far as the base model has positions, or look into the snapshot for empty or equal answers"
        )
    return found


def what_ended(metrics: Mapping[str, float]) -> str:
    """Setting that ended the training with these `metrics`; raised, it makes the next one longer."""
    if metrics.get("budget_hit"):
        return "the budget that cut it short, `budget_minutes` or `budget_tokens`"
    return SHOWN
