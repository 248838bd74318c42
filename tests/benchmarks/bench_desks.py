"""Whole desks of the demo, one after another, each a process of its own: how well and how alike they end.

A desk's last champion is asked by `--users` fresh users, by the policies that hold at the end. With `--threads 1 2`
every desk is played with each count of threads, which changes nothing but rounding: the standard deviation of the
difference, divided by the root of two, is what rounding alone makes of a desk. Desks that are in `--folder` already are
not played again. Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from evals.stats import estimate
from tests.benchmarks.rounding import spread
from tests.benchmarks.versions import versions


@dataclass(frozen=True, slots=True)
class Desk:
    """What became of one desk."""

    seed: int
    threads: int
    satisfied: int
    """Of the fresh users that were asked at the end."""
    asked: int
    recovered: int
    """Satisfied ones of those who asked about what had changed."""
    changed: int
    verdicts: str
    """First letters, a night each."""
    minutes: float
    """Of the demo, without the fresh users here."""
    rollback_seconds: float
    restored: bool
    """The rollback brought back the same bytes."""

    @property
    def share(self) -> float:
        return self.satisfied / self.asked


def desk(seed: int, threads: int, days: int, users: int, folder: Path) -> Desk:
    """A desk that is played now, or was before."""
    file = folder / f"desk-{seed}-{threads}.json"
    if not file.exists():
        file.write_text(json.dumps(asdict(_played(seed, threads, days, users, file.with_suffix("")))))
    return Desk(**json.loads(file.read_text()))


def _played(seed: int, threads: int, days: int, users: int, home: Path) -> Desk:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(Path.cwd())}
    demo = ("-m", "loop.cli", "--json", "demo", "--seed", str(seed), "--days", str(days))
    told = _json([*demo, "--folder", str(home.absolute())], environment, Path.cwd())
    fresh = _json(
        ["-m", "tests.benchmarks.desk_users", str(seed), str(days + 1), str(users)],
        environment | {"NIGHTSHIFT_HOME": ".nightshift"},
        home,
    )
    return Desk(
        seed=seed,
        threads=threads,
        verdicts="".join(verdict[0] for verdict in told["verdicts"]),
        minutes=told["seconds"] / 60,
        rollback_seconds=told["rollback_seconds"],
        restored=told["rollback_restored"],
        **fresh,
    )


def _json(arguments: Sequence[str], environment: Mapping[str, str], where: Path) -> dict[str, Any]:
    """What a process of Python prints."""
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=where, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def line(played: Desk) -> str:
    """One desk for a reader."""
    return (
        f"seed {played.seed:3}, {played.threads} threads: {played.share:.1%} of {played.asked} satisfied, "
        f"{played.recovered} of {played.changed} of what had changed, {played.verdicts}, "
        f"{played.minutes:.1f} minutes, rollback {played.rollback_seconds:.1f} s"
    )


def together(desks: Sequence[Desk]) -> dict[str, float]:
    """Mean with its 95 % interval over desks, the worst, what had changed and minutes."""
    shares = [played.share for played in desks]
    told = {
        "mean": fmean(shares),
        "worst": min(shares),
        "recovered": sum(played.recovered for played in desks) / sum(played.changed for played in desks),
        "minutes": fmean(played.minutes for played in desks),
        "restored": fmean(played.restored for played in desks),
    }
    if len(desks) > 1:
        found = estimate(np.array(shares), len(shares))
        told |= {"low": found.low, "high": found.high}
    return told


def main() -> None:
    """Play the desks and print a line each, their figures together and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[*range(1, 11)])
    parser.add_argument("--threads", type=int, nargs="+", default=[os.cpu_count() or 1])
    parser.add_argument("--days", type=int, default=6)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(".nightshift/desks"), help="where desks are kept")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    played: dict[int, list[Desk]] = {threads: [] for threads in chosen.threads}
    for seed in chosen.seeds:
        for threads in chosen.threads:
            played[threads].append(desk(seed, threads, chosen.days, chosen.users, chosen.folder))
            print(line(played[threads][-1]), flush=True)
    result: dict[str, object] = {f"threads {threads}": together(desks) for threads, desks in played.items()}
    if len(played) > 1 and len(chosen.seeds) > 1:
        one, other, *_ = ([each.share for each in desks] for desks in played.values())
        result["rounding_sd"] = spread(one, other)
    where = {"seeds": chosen.seeds, "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({**result, **where, **versions("torch", "transformers", "peft")}))


if __name__ == "__main__":
    main()
