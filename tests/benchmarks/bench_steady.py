"""How well and how steadily a night teaches: ways to train compared on stored nights of simulated help desks.

Each way begins with the same parent and the same events, so that a difference is paired. Fresh users judge, by the
policies of the night's day: the share satisfied, of those alone who ask about what changes, and the probability
of the answer each of them wants, which no drawing of tokens blurs. `--spread` trains every night with one thread and
with two: half the variance of their difference is what rounding alone makes. Nights are made on first use and kept in
`--folder`. Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import exp
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from evals.stats import estimate
from evals.worlds import helpdesk
from loop.models import find, load, native_bfloat16
from loop.settings import ModelSettings
from loop.types import Json, Message
from tests.benchmarks.desk_nights import BATCH, StoredNight, demo_settings, nights, trained, truths
from tests.benchmarks.rounding import spread
from tests.benchmarks.versions import versions

NIGHTS = ("11-1", "12-1", "13-2", "14-2", "15-2", "16-2", "17-3", "18-3", "19-4", "20-4")
"""Seed and day: first nights, second ones, the night of the drift and the one after it."""
WAYS: Mapping[str, Mapping[str, Json]] = {
    "demo": {},
    "before": {
        "curation.vault_share": 0.45,
        "curation.max_examples": 64,
        "training.batch_examples": 2,
        "training.learning_rate": 8e-4,
        "training.pair.beta": 0.01,
        "training.epochs": 2.5,
        "training.min_steps": 0,
    },
    "seen less": {"training.min_steps": 0},
    "newest 64": {"curation.max_examples": 64},
    "batches of 4": {"training.batch_examples": 4, "training.learning_rate": 1.2e-3, "training.min_steps": 80},
}
"""What is changed in the demo's policy; `before` is the training of commit 95de864, but for what is fixed now."""
LEAST = 2
"""Nights that an interval needs."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way made of one night."""

    satisfied: float
    """Share of the fresh users."""
    changed: float
    """Share of those who ask about what changes in this world."""
    wanted: float
    """Mean probability of the answer that a user wants."""
    kl: float
    """From the parent, nats a token, over the last quarter of the steps."""
    steps: float
    cpu_seconds: float
    """Of the training with its start."""


def outcome(night: StoredNight, way: Mapping[str, Json], base: Path, folder: Path, users: int) -> Outcome:
    """Train `night` in one way and ask fresh users."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.process_time()
    made = trained(night, base, folder, demo_settings(way))
    spent = time.process_time() - began
    model = load(base, adapter=folder, batch=BATCH)
    asked = helpdesk.fresh(night.world, night.day + 1, users)
    told = truths(night.world, model, asked, night.day)
    shutil.rmtree(folder)
    return Outcome(
        satisfied=fmean(truth.satisfied for _, truth in told),
        changed=fmean(truth.satisfied for changing, truth in told if changing),
        wanted=fmean(exp(logp) for logp in model.score([(each.messages, _wanted(night, each)) for each in asked])),
        kl=made.metrics.get("kl", 0.0),
        steps=made.metrics["steps"],
        cpu_seconds=spent,
    )


def compared(told: Mapping[str, Mapping[str, Outcome]], way: str, reference: str) -> dict[str, float]:
    """Means of a way over the nights, and its satisfied users less the reference's with a 95 % interval."""
    nights_of = [name for name in told[way] if name in told[reference]]
    differences = [told[way][name].satisfied - told[reference][name].satisfied for name in nights_of]
    each = [asdict(outcome) for outcome in told[way].values()]
    means = {name: fmean(values[name] for values in each) for name in each[0]}
    if len(nights_of) < LEAST:
        return means
    paired = estimate(np.array(differences), len(nights_of))
    return {**means, "difference": paired.mean, "low": paired.low, "high": paired.high}


def _wanted(night: StoredNight, asked: helpdesk.Request) -> Message:
    return Message("assistant", helpdesk.wish(night.world, replace(asked, day=night.day)))


def _stored(name: str, base: Path, folder: Path) -> StoredNight:
    seed, day = map(int, name.split("-"))
    *_, last = nights(seed, day, base, folder, demo_settings({}))
    return last


def _with_threads(way: str, threads: int) -> str:
    return f"{way}, {threads} threads"


def _shares(told: Mapping[str, Mapping[str, Outcome]], way: str, threads: int) -> list[float]:
    return [made.satisfied for made in told[_with_threads(way, threads)].values()]


def main() -> None:
    """Train every night in every way, print a line each and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    full = bool(os.environ.get("FULL"))
    parser.add_argument("--nights", nargs="+", default=[*NIGHTS] if full else [*NIGHTS[:1]])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS] if full else ["demo"])
    parser.add_argument("--users", type=int, default=200 if full else 40)
    parser.add_argument("--folder", type=Path, default=Path(".nightshift/nights"), help="where nights are kept")
    parser.add_argument("--spread", action="store_true", help="train every night with one thread and with two")
    chosen = parser.parse_args()
    base = find(ModelSettings().base, chosen.folder / "models")
    told: dict[str, dict[str, Outcome]] = {}
    for name in chosen.nights:
        night = _stored(name, base, chosen.folder)
        for way, threads in product(chosen.ways, (1, 2) if chosen.spread else (torch.get_num_threads(),)):
            torch.set_num_threads(threads)
            key = _with_threads(way, threads) if chosen.spread else way
            made = outcome(night, WAYS[way], base, chosen.folder / "made", chosen.users)
            told.setdefault(key, {})[name] = made
            print(f"{name} {key}: " + ", ".join(f"{k} {v:.3f}" for k, v in asdict(made).items()), flush=True)
    result: dict[str, object] = {key: compared(told, key, next(reversed(told))) for key in told}
    if chosen.spread and len(chosen.nights) >= LEAST:
        result["rounding_sd"] = {
            way: spread(*(_shares(told, way, threads) for threads in (1, 2))) for way in chosen.ways
        }
    where = {"cores": os.cpu_count(), "python": platform.python_version(), "bfloat16": native_bfloat16("cpu")}
    print(json.dumps({**result, "users": chosen.users, **where, **versions("torch", "transformers", "peft")}))


if __name__ == "__main__":
    main()
