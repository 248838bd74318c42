from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from connectors.imports import read
from loop.curation import Curated, curate
from loop.settings import CurationSettings
from loop.types import Feedback, Interaction, Objective, Split

KEY = "key of the pseudonyms"


def curated(path: Path, format_name: str) -> Curated:
    events = list(read(path, format_name, secret=KEY))
    interactions = [event for event in events if isinstance(event, Interaction)]
    as_of = max(interaction.occurred_at for interaction in interactions) + timedelta(days=2)
    feedback = [event for event in events if isinstance(event, Feedback)]
    return curate(interactions, feedback, CurationSettings(max_examples=0), as_of)


def test_answers_to_maths_questions_become_pairs_and_lone_verdicts(real_data: Path) -> None:
    made = curated(real_data / "gsm8k/example_model_solutions.jsonl", "gsm8k")
    counts = Counter(example.objective for example in made.examples)
    splits = Counter(example.split for example in made.examples)

    assert made.report["mature"] == 5276
    assert counts[Objective.PAIR] > 2400
    assert counts[Objective.UNPAIRED] > 2300
    assert splits[Split.VAULT] / len(made.examples) == pytest.approx(0.2, abs=0.03)
    assert "scrubbed" not in made.report


def test_airline_conversations_become_a_verdict_on_every_turn(real_data: Path) -> None:
    made = curated(real_data / "tau_bench/gpt-4o-airline.json", "tau-bench")
    scrubbed = "".join(message.content for example in made.examples for message in example.prompt)

    assert made.report["mature"] == 200
    assert 1900 < len(made.examples) < 2454
    assert {abs(branch.score) < 1 for example in made.examples for branch in example.branches} == {True}
    assert "<EMAIL>" in scrubbed
    assert "@example.com" not in scrubbed
