"""Seconds and peak memory of every command on a small home, each a process of its own; medians of alternating rounds.

The home is the one that 0.1.0 made (tests/homes), a new copy each round, so every command really does its work. A
command that opens MLflow, Great Expectations or torch is shown beside that import alone, in the same round. CPU seconds
are user and system together: on a busy machine they say more than the wall's. Last comes one JSON object.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.versions import versions
from tests.homes import unpack_for_today

COMMAND = ("-m", "loop.cli", "--json")
IMPORTS = {
    "nothing": "pass",
    "sqlmodel": "import connectors.sql.store",
    "mlflow": (
        "from connectors.mlflow.client import connect; "
        "connect('sqlite:///.nightshift/mlflow.db').search_registered_models(max_results=1)"
    ),
    "great_expectations": "from connectors.expectations.run import great_expectations; great_expectations()",
    "torch": "import loop.training, loop.models.language",
}
"""What each of the libraries costs by itself; MLflow's SQL store is read when a client is first used."""
OPENS = {
    "validate": "great_expectations",
    **dict.fromkeys(("register", "decide", "promote", "approve", "rollback", "reconcile", "doctor"), "mlflow"),
    **dict.fromkeys(("train", "evaluate", "ask", "run"), "torch"),
}
"""The heaviest library that a command opens; what is not here opens none of them."""
EXITS = (0, 3)
"""3: nothing was promoted."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one process."""

    seconds: float
    cpu: float
    mib: float


def commands(project: Path) -> Mapping[str, tuple[str, ...]]:
    """Every command in an order in which each has something to do, by its name; a name may have a remark."""
    nights = json.loads(subprocess.check_output([sys.executable, *COMMAND, "nights"], cwd=project))["nights"]
    outputs = nights[0]["outputs"]
    snapshot, candidate, evidence = (outputs[stage] for stage in ("curate", "train", "evaluate"))
    return {
        "schema": ("schema",),
        "init --print": ("init", "--print"),
        "status": ("status",),
        "history": ("history",),
        "nights": ("nights",),
        "dlq list": ("dlq", "list"),
        "prune --dry-run": ("prune", "--keep", "1", "--dry-run"),
        "decide nope": ("decide", "nope"),
        "train nope": ("train", "nope"),
        "import": ("import", "events.jsonl"),
        "capture": ("capture", "--until-caught-up"),
        "curate": ("curate", "--as-of", "2026-01-03"),
        "validate": ("validate", snapshot),
        "doctor": ("doctor",),
        "register": ("register", candidate),
        "decide": ("decide", evidence),
        "promote": ("promote", "2", "--force", "--reason", "measured"),
        "approve": ("approve", "2"),
        "rollback": ("rollback",),
        "reconcile": ("reconcile",),
        "ask": ("ask", "--max-tokens", "1", "Hello"),
        "train": ("train", snapshot),
        "evaluate": ("evaluate", candidate),
        "run": ("run",),
        "prune": ("prune", "--keep", "1"),
    }


def measured(arguments: Sequence[str], folder: Path, *, refused: bool = False) -> Cost:
    """One process from its start to its end. Raises RuntimeError when it did not do what was asked."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, *arguments], cwd=folder, stdout=said, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        code = os.waitstatus_to_exitcode(status)
        process.returncode = code
        if (code == 2) != refused or code not in (*EXITS, 2):
            said.seek(0)
            raise RuntimeError(f"{arguments} ended with {code}: {said.read().decode()}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def measured_round(folder: Path) -> dict[str, Cost]:
    """Every import and every command once, on a home of its own."""
    project = unpack_for_today("0.1.0", folder)
    found = {f"import {name}": measured(("-c", code), project) for name, code in IMPORTS.items()}
    for name, arguments in commands(project).items():
        found[name] = measured((*COMMAND, *arguments), project, refused=name.endswith("nope"))
    return found


def median(costs: Sequence[Cost]) -> Cost:
    """Of each figure by itself."""
    middle = {name: statistics.median(getattr(cost, name) for cost in costs) for name in ("seconds", "cpu", "mib")}
    return Cost(**middle)


def line(name: str, cost: Cost, medians: Mapping[str, Cost]) -> str:
    """A row of the table; what a command does beside its import comes last."""
    text = f"{name:26} {cost.seconds:7.2f} s {cost.cpu:7.2f} s CPU {cost.mib:7.0f} MiB"
    if opened := OPENS.get(name):
        text += f"   {cost.cpu - medians[f'import {opened}'].cpu:+.2f} s CPU over import {opened}"
    return text


def main() -> None:
    """Measure, print a line each, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    rounds = []
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(measured_round(Path(folder)))
    medians = {name: median([each[name] for each in rounds]) for name in rounds[0]}
    for name, cost in medians.items():
        print(line(name, cost, medians))
    used = versions("mlflow", "great-expectations", "sqlmodel", "torch", "transformers", "peft", "polars")
    shown = {name: [round(cost.seconds, 2), round(cost.cpu, 2), round(cost.mib)] for name, cost in medians.items()}
    about = {"rounds": chosen.rounds, "cores": os.cpu_count(), "python": platform.python_version(), **used}
    print(json.dumps({**about, "seconds, CPU seconds, MiB": shown}))


if __name__ == "__main__":
    main()
