"""What a training on real logs learns: held-out preference accuracy after the same minutes with a tree and with rows.

Questions and tasks never trained on judge by the implicit reward of an answer, log p_candidate - log p_reference per
token: the share of chosen answers that it prefers to the rejected one (GSM8K), or of approved answers over every
disapproved one to the same task (tau-bench, whose turns have no pairs). The reference's own is a half. How much less
likely the other log's approved answers became, in nats a token, is the price in forgetting. Intervals are by question
or task. Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import chain, groupby, product, zip_longest
from math import ceil
from operator import attrgetter
from pathlib import Path
from statistics import fmean
from typing import Literal

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from connectors.imports import read
from evals.stats import Estimate, cluster_means, estimate
from loop.curation import curate
from loop.machine import Machine
from loop.models import find, native_bfloat16
from loop.settings import CurationSettings, ModelSettings, TrainingSettings
from loop.training import Job, candidate, train
from loop.training.batch.tokens import Encoded, encode
from loop.training.forward.logps import Scored, Scorer, score
from loop.training.weights import adapters
from loop.types import Example, Feedback, Interaction, Objective, Split
from tests.benchmarks.versions import versions
from tests.conftest import DATA

LOGS = {
    "tau-bench": DATA / "tau_bench" / "gpt-4o-airline.json",
    "gsm8k": DATA / "gsm8k" / "example_model_solutions.jsonl",
}
SETTINGS = TrainingSettings(max_tokens=4_096)
Scores = Sequence[tuple[float, ...]]
"""Log-probability of each answer of each example."""
EACH = 24
"""Held-out examples of a question or task at most."""
BUDGET = 8_192
"""Tokens of a forward pass."""


@dataclass(frozen=True, slots=True)
class Held:
    """Examples nobody trained on, as token ids, and the question or task of each."""

    examples: Sequence[Encoded]
    clusters: Sequence[str]

    def first(self, most: int) -> "Held":
        """The first questions or tasks, as many as hold `most` examples."""
        ends = (end for end in range(most, len(self.clusters)) if self.clusters[end] != self.clusters[end - 1])
        end = next(ends, len(self.clusters))
        return Held(self.examples[:end], self.clusters[:end])


def curated(name: str) -> tuple[Example, ...]:
    """The log's examples; every question or task of it is held out with a chance of a half."""
    events = [*read(LOGS[name], name, secret="benchmark")]
    interactions = [event for event in events if isinstance(event, Interaction)]
    feedback = [event for event in events if isinstance(event, Feedback)]
    as_of = max(event.occurred_at for event in feedback) + timedelta(days=2)
    settings = CurationSettings(min_account_days=0.0, burst_factor=0.0, per_user_cap=0, vault_share=0.4)
    return curate(interactions, feedback, settings, as_of).examples


def held_out(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: TrainingSettings) -> Held:
    """Up to EACH examples of every held-out question or task with good and bad answers, in random order."""
    by_cluster = attrgetter("cluster")
    told = [e for e in examples if e.split is not Split.TRAIN and e.objective is not Objective.DEMONSTRATION]
    paired = [e for e in told if len(e.branches) > 1] or told
    drawn = [[*members] for _, members in groupby(sorted(paired, key=by_cluster), key=by_cluster)]
    draw = random.Random(0)
    draw.shuffle(drawn)
    kept: list[Encoded] = []
    clusters: list[str] = []
    for members in drawn:
        draw.shuffle(members)
        good, bad = ([e for e in members if (e.branches[0].score > 0) is verdict] for verdict in (True, False))
        if good and (bad or len(good[0].branches) > 1):
            turns = [*filter(None, chain.from_iterable(zip_longest(good, bad)))][:EACH]
            fitting = encode(turns, tokenizer, settings).examples
            kept += fitting
            clusters += [members[0].cluster] * len(fitting)
    return Held(kept, clusters)


@torch.inference_mode()
def scored(scorer: Scorer, examples: Sequence[Encoded]) -> Scores:
    """Log-probability of each example's answers."""
    found: dict[int, tuple[float, ...]] = {}
    for group in scorer.passes(examples, BUDGET):
        logps: Scored = score(scorer, [examples[i] for i in group])
        values = iter(logps.logp.tolist())
        found |= {i: tuple(next(values) for _ in examples[i].answers) for i in group}
    return [found[i] for i in range(len(examples))]


def rewards(before: Scores, after: Scores, held: Held) -> list[tuple[float, ...]]:
    """Implicit reward of every answer, nats a token."""
    return [
        tuple((b - a) / len(answer.ids) for a, b, answer in zip(was, now, example.answers, strict=True))
        for was, now, example in zip(before, after, held.examples, strict=True)
    ]


def accuracy(found: Sequence[tuple[float, ...]], held: Held) -> Estimate:
    """How often what was chosen or approved is preferred, less the reference's half; ties count half."""
    compared = [*_compared(found, held)]
    shares = [0.5 * (good > bad) + 0.5 * (good >= bad) - 0.5 for _, good, bad in compared]
    return estimate(cluster_means(shares, [cluster for cluster, *_ in compared]), len(shares))


def _compared(found: Sequence[tuple[float, ...]], held: Held) -> Iterator[tuple[str, float, float]]:
    """Cluster and rewards of a better and a worse answer: those of a pair, else any two of one cluster."""
    verdicts: dict[str, dict[bool, list[float]]] = {}
    for rewarded, example, cluster in zip(found, held.examples, held.clusters, strict=True):
        if len(rewarded) > 1:
            yield cluster, rewarded[0], rewarded[-1]
        else:
            verdicts.setdefault(cluster, {True: [], False: []})[example.credit.approved] += rewarded
    for cluster, told in verdicts.items():
        for good, bad in product(told[True], told[False]):
            yield cluster, good, bad


def drift(found: Sequence[tuple[float, ...]], held: Held) -> float:
    """Mean reward of chosen or approved answers, nats a token: below zero they became less likely."""
    return fmean(first for (first, *_), example in zip(found, held.examples, strict=True) if example.credit.approved)


class Judge:
    """What the base model says of held-out answers: of `most` of a log to train on, of `few` of any other."""

    def __init__(self, trained: Sequence[str], base: Path, most: int, few: int) -> None:
        tokenizer = AutoTokenizer.from_pretrained(base)
        self._base = base
        self._few = few
        self._held = {
            log: held_out(curated(log), tokenizer, SETTINGS).first(most if log in trained else self._few)
            for log in LOGS
        }
        self._before = self._scores("reference", self._held, None)

    def figures(self, name: str, adapter: Path) -> dict[str, float]:
        """Of an adapter trained on a log: on that log, and how it moved from the other one's approved answers."""
        held = {log: self._held[log] if log == name else self._held[log].first(self._few) for log in LOGS}
        after = self._scores(f"{name} {adapter.name}", held, adapter)
        found = {
            log: rewards(self._before[log][: len(after[log])], after[log], answers) for log, answers in held.items()
        }
        [other] = [log for log in LOGS if log != name]
        told = accuracy(found[name], held[name])
        return {
            "accuracy": 0.5 + told.mean,
            "low": 0.5 + told.low,
            "high": 0.5 + told.high,
            "judged": told.items,
            "clusters": told.clusters,
            "chosen_drift": drift(found[name], held[name]),
            "other_log_drift": drift(found[other], held[other]),
        }

    def _scores(self, whose: str, held: Mapping[str, Held], adapter: Path | None) -> dict[str, Scores]:
        model = adapters.load(self._base, adapter, rank=SETTINGS.rank, seed=0, dtype=torch.float32, device="cpu")
        scorer = Scorer(model.get_base_model())
        scores: dict[str, Scores] = {}
        for log, answers in held.items():
            print(f"{whose}: judged by {len(answers.examples)} held-out examples of {log}", flush=True)
            scores[log] = scored(scorer, answers.examples)
        return scores


def learn(name: str, layout: Literal["tree", "rows"], base: Path, folder: Path, minutes: float) -> dict[str, float]:
    """Train on a log's train split into `folder`; how far it got."""
    job = Job(
        job_id=f"{name}-{layout}",
        snapshot_id=name,
        examples=tuple(e for e in curated(name) if e.split is Split.TRAIN),
        base=base,
        parent=None,
        parent_version=0,
        folder=folder,
        cache=folder / "cache",
        settings=replace(SETTINGS, budget_minutes=minutes),
        dtype="bfloat16",
    )
    steps = 0
    for step in train(job, machine=Machine(tree=layout == "tree", checkpoint_minutes=60.0)):
        steps = step.step
        told = f"loss {step.metrics['loss']:.3f}, {step.eta_seconds:.0f} s left"
        print(f"{name} {layout}: step {steps}/{step.of}, {told}", flush=True)
    return {"steps": steps, "examples_seen": steps * SETTINGS.batch_examples, "kl": candidate(job).metrics["kl"]}


def count(text: str) -> int:
    """`text` as a whole number; raises `ArgumentTypeError` below one."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {number}")
    return number


def main() -> None:
    """Train on every log with every layout, print a line each and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=[*LOGS])
    parser.add_argument("--layouts", nargs="+", choices=("tree", "rows"), default=["tree", "rows"])
    parser.add_argument("--minutes", type=float, default=30.0 if os.environ.get("FULL") else 1.0)
    parser.add_argument("--pairs", type=count, default=300 if os.environ.get("FULL") else 40)
    parser.add_argument(
        "--others", type=count, help="held-out examples of the other log (default: a quarter of --pairs)"
    )
    chosen = parser.parse_args()
    few = chosen.others or ceil(chosen.pairs / 4)
    result: dict[str, object] = {"minutes": chosen.minutes, "pairs": chosen.pairs, "others": few}
    with tempfile.TemporaryDirectory() as folder:
        base = find(ModelSettings().base, Path(folder))
        judge = Judge(chosen.logs, base, chosen.pairs, few)
        for name, layout in product(chosen.logs, chosen.layouts):
            ends = Path(folder) / name / layout
            figures = {**learn(name, layout, base, ends, chosen.minutes), **judge.figures(name, ends)}
            print(f"{name} {layout}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)
            result[f"{name}/{layout}"] = figures
    where = {"cores": os.cpu_count(), "python": platform.python_version(), "bfloat16": native_bfloat16("cpu")}
    print(json.dumps({**result, **where, **versions("torch", "transformers", "peft")}))


if __name__ == "__main__":
    main()
