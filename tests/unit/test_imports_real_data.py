import random
from collections import Counter
from datetime import timedelta

import pytest

from connectors.imports import START, read
from loop.intake.events import decode, encode
from loop.types import Feedback, Interaction, VerifierKind

KEY = "s"


def test_every_answer_of_gsm8k_is_read(real_data):
    events = list(read(real_data / "gsm8k/example_model_solutions.jsonl", "gsm8k", secret=KEY))
    answers = [event for event in events if isinstance(event, Interaction)]
    outcomes = {event.interaction_id: event.value for event in events if isinstance(event, Feedback)}
    assert len(events) == 2 * len(answers) == 2 * 5276
    assert Counter(Counter(answer.user_key for answer in answers).values()) == {4: 1319}
    assert len({answer.interaction_id for answer in answers}) == 5276
    assert {answer.model: 0 for answer in answers}.keys() == {
        f"{size}_{method}@gsm8k" for size in ("6b", "175b") for method in ("finetuning", "verification")
    }
    assert all(answer.verifiers[0].kind is VerifierKind.NUMERIC for answer in answers)
    right = [answer for answer in answers if outcomes[answer.interaction_id] == 1.0]
    truths = [float(answer.verifiers[0].target) for answer in right]
    assert sum(_states(answer, truth) for answer, truth in zip(right, truths, strict=True)) > 0.99 * len(right)


def _states(answer: Interaction, truth: float) -> bool:
    last = answer.response.content.rsplit("A:", 1)[-1].strip().replace(",", "")
    return abs(float(last) - truth) < 1e-3


def test_every_worked_solution_of_gsm8k_is_read(real_data):
    events = list(read(real_data / "gsm8k/test.jsonl", "gsm8k-solutions", secret=KEY))
    assert Counter(type(event) for event in events) == {Interaction: 1319, Feedback: 1319}


def test_every_conversation_of_tau_bench_is_read(real_data):
    events = list(read(real_data / "tau_bench/gpt-4o-airline.json", "tau-bench", secret=KEY))
    conversations = [event for event in events if isinstance(event, Interaction)]
    rewards = [event.value for event in events if isinstance(event, Feedback)]
    assert Counter(rewards) == {1.0: 84, 0.0: 116}
    assert Counter(Counter(one.user_key for one in conversations).values()) == {4: 50}
    assert len({one.conversation_id for one in conversations}) == 200
    turns = [turn for one in conversations for turn in (*one.messages, one.response)]
    assert sum(turn.role == "assistant" for turn in turns) == 2454
    assert sum(len(turn.tool_calls) for turn in turns) == 1164


@pytest.mark.parametrize(
    ("file", "format_name"),
    [("gsm8k/example_model_solutions.jsonl", "gsm8k"), ("tau_bench/gpt-4o-airline.json", "tau-bench")],
)
def test_real_events_pass_through_the_wire_unchanged_and_lie_in_order_after_the_start(real_data, file, format_name):
    events = list(read(real_data / file, format_name, secret=KEY))
    chosen = random.Random(0).sample(events, 200)
    assert [decode(encode(event).payload) for event in chosen] == chosen
    assert all(START < event.occurred_at < START + timedelta(hours=3) for event in events)
