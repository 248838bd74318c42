"""What a training on real logs learns: held-out preference accuracy after the same minutes with a tree and with rows.

Users (questions of GSM8K, conversations of tau-bench) never trained on judge: of their pairs, the share in which the
implicit reward log p_candidate - log p_reference prefers what was chosen. The reference's own is a half. What the other
log's approved answers cost in nats a token, before and after, is the price in forgetting. Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import AutoTokenizer

from connectors.imports import read
from evals.stats import Estimate, cluster_means, estimate
from loop.curation import curate
from loop.models import find, native_bfloat16
from loop.settings import CurationSettings, TrainingSettings
from loop.training import Job, adapters, candidate, train
from loop.training.logps import Scored, Scorer, score
from loop.training.tokens import Encoded, encode
from loop.types import Example, Feedback, Interaction, Objective, Split
from tests.conftest import DATA

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
LOGS = {
    "tau-bench": DATA / "tau_bench" / "gpt-4o-airline.json",
    "gsm8k": DATA / "gsm8k" / "example_model_solutions.jsonl",
}
BUDGET = 4_096
"""Tokens of a forward pass."""


@dataclass(frozen=True, slots=True)
class Held:
    """Examples nobody trained on, as token ids, and who is counted once."""

    examples: Sequence[Encoded]
    clusters: Sequence[str]


def curated(name: str) -> tuple[Example, ...]:
    """The log's examples; every user of it is held out with a chance of three in ten."""
    events = [*read(LOGS[name], name, secret="benchmark")]
    interactions = [event for event in events if isinstance(event, Interaction)]
    feedback = [event for event in events if isinstance(event, Feedback)]
    as_of = max(event.occurred_at for event in feedback) + timedelta(days=2)
    return curate(interactions, feedback, CurationSettings(min_account_days=0.0, burst_factor=0.0), as_of).examples


def held_out(examples: Sequence[Example], tokenizer: object, settings: TrainingSettings, most: int) -> Held:
    """The first `most` pairs that fit, of users in dev and vault."""
    pairs = [e for e in examples if e.split is not Split.TRAIN and e.objective is Objective.PAIR]
    kept, clusters = [], []
    for pair in pairs:
        if len(kept) == most:
            break
        for encoded in encode([pair], tokenizer, settings).examples:
            kept.append(encoded)
            clusters.append(pair.cluster)
    return Held(kept, clusters)


@torch.inference_mode()
def scored(scorer: Scorer, examples: Sequence[Encoded]) -> list[tuple[float, ...]]:
    """Log-probability of each example's answers."""
    found: dict[int, tuple[float, ...]] = {}
    for group in scorer.passes(examples, BUDGET):
        logps: Scored = score(scorer, [examples[i] for i in group])
        values = iter(logps.logp.tolist())
        found |= {i: tuple(next(values) for _ in examples[i].answers) for i in group}
    return [found[i] for i in range(len(examples))]


def accuracy(reference: Sequence[tuple[float, ...]], now: Sequence[tuple[float, ...]], held: Held) -> Estimate:
    """Of the implicit reward, less the reference's half, by cluster."""
    margins = [(b[0] - a[0]) - (b[1] - a[1]) for a, b in zip(reference, now, strict=True)]
    order = [0.5 if margin == 0 else float(margin > 0) for margin in margins]
    return estimate(cluster_means([value - 0.5 for value in order], held.clusters), len(order))


def drift(reference: Sequence[tuple[float, ...]], now: Sequence[tuple[float, ...]], held: Held) -> float:
    """Nats a token by which chosen answers became likelier."""
    lengths = sum(len(example.answers[0].ids) for example in held.examples)
    return sum(b[0] - a[0] for a, b in zip(reference, now, strict=True)) / lengths


def learn(name: str, layout: str, folder: Path, minutes: float, most: int) -> dict[str, float]:
    """Train on one log and judge on its held-out pairs and on the other log's."""
    base = find(SMOLLM2, folder / "models")
    tokenizer = AutoTokenizer.from_pretrained(base)
    settings = TrainingSettings(budget_minutes=minutes, layout=layout, checkpoint_minutes=60.0)
    examples = curated(name)
    other = next(log for log in LOGS if log != name)
    held, elsewhere = (held_out(log, tokenizer, settings, most) for log in (examples, curated(other)))
    job = Job(
        candidate_id=f"{name}-{layout}",
        snapshot_id=name,
        examples=tuple(e for e in examples if e.split is Split.TRAIN),
        dev=(),
        base=base,
        parent=None,
        parent_version=0,
        folder=folder / f"{name}-{layout}",
        cache=folder / "cache",
        settings=settings,
        dtype="float32",
    )
    steps = 0
    for step in train(job):
        steps = step.step
        print(
            f"{name} {layout}: step {steps}/{step.of}, loss {step.metrics['loss']:.3f}, {step.eta_seconds:.0f} s left"
        )
    dtype = torch.bfloat16 if native_bfloat16("cpu") else torch.float32
    before, after = (
        Scorer(adapters.load(base, parent, rank=settings.rank, seed=0, dtype=dtype, device="cpu").get_base_model())
        for parent in (None, job.folder)
    )
    own, others = [(scored(before, each.examples), scored(after, each.examples)) for each in (held, elsewhere)]
    found = accuracy(*own, held)
    print(f"{name} {layout}: {0.5 + found.mean:.3f} ({0.5 + found.low:.3f} to {0.5 + found.high:.3f})")
    return {
        "steps": steps,
        "examples_seen": steps * settings.batch_examples,
        "accuracy": 0.5 + found.mean,
        "low": 0.5 + found.low,
        "high": 0.5 + found.high,
        "pairs": found.items,
        "clusters": found.clusters,
        "kl": candidate(job).metrics["kl"],
        "chosen_drift": drift(*own, held),
        "other_log_drift": drift(*others, elsewhere),
    }


def main() -> None:
    """Train on every log with every layout, print a line each and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=[*LOGS])
    parser.add_argument("--layouts", nargs="+", choices=("tree", "rows"), default=["tree", "rows"])
    parser.add_argument("--minutes", type=float, default=60.0 if os.environ.get("FULL") else 2.0)
    parser.add_argument("--pairs", type=int, default=400 if os.environ.get("FULL") else 60)
    chosen = parser.parse_args()
    result: dict[str, object] = {"minutes": chosen.minutes, "pairs": chosen.pairs}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.logs:
            for layout in chosen.layouts:
                result[f"{name}/{layout}"] = learn(name, layout, Path(folder), chosen.minutes, chosen.pairs)
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    where = {"cores": os.cpu_count(), "python": platform.python_version(), "bfloat16": native_bfloat16("cpu")}
    print(json.dumps({**result, **where, **versions}))


if __name__ == "__main__":
    main()
