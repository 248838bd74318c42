"""Training on conversation logs: one optimiser step of ours beside TRL's and a careful loop by hand.

Each trainer is a process of its own, so that its memory is its own; they take turns on the same batches and figures
are medians. `FULL=1` takes more and longer batches, for README.md's tables. Last comes one JSON object.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM

from loop.models import find, native_bfloat16
from loop.settings import ModelSettings
from tests.benchmarks import memory
from tests.benchmarks.preference_sets import Batches, conversations, singles, solutions, token_ratios
from tests.benchmarks.trainers import TRAINERS, Bed, device
from tests.benchmarks.versions import versions

FULL = bool(os.environ.get("FULL"))
LONGEST = {"qwen2": 4_096 if FULL else 2_400, "smollm2": 2_400 if FULL else 1_800}
"""Tokens of a conversation: on the larger model TRL takes 15 GiB for 2,400."""
WARMING = 1
"""Examples of the step that warms up."""
TURNS = None if FULL else 4
"""Turns of a conversation, the first ones; None for all."""


@dataclass(frozen=True, slots=True)
class Taken:
    """One optimiser step of one trainer."""

    seconds: float
    loss: float
    peak_mib: float
    """Beyond the model as it was loaded."""


def smollm2(folder: Path) -> Path:
    """The real 135 M-parameter model."""
    return find(ModelSettings().base, folder)


def qwen2(folder: Path) -> Path:
    """A random Qwen2 of 13 M parameters under SmolLM2's tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(find(ModelSettings().base, folder))
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=768,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=8_192,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).save_pretrained(folder / "qwen2")
    tokenizer.save_pretrained(folder / "qwen2")
    return folder / "qwen2"


MODELS = {"qwen2": qwen2, "smollm2": smollm2}


def sets(model: str, tokenizer: PreTrainedTokenizerBase, rounds: int) -> dict[str, Batches]:
    """The three kinds of preference data, a batch for each round."""
    return {
        "singles": singles(tokenizer, rounds, batch=8),
        "conversations": [turns[:TURNS] for turns in conversations(tokenizer, rounds, LONGEST[model])],
        "solutions": solutions(tokenizer, rounds, questions=4),
    }


def work(name: str, bed: Bed, line: Connection) -> None:
    """A trainer's process: a step on every batch that comes along `line`."""
    step = TRAINERS[name](bed)
    memory.give_back()
    loaded = memory.now()
    line.send("ready")
    while (batch := line.recv()) is not None:
        memory.forget_peak()
        started = time.perf_counter()
        loss = step(batch)
        line.send(Taken(time.perf_counter() - started, loss, memory.peak() - loaded))
        memory.give_back()


@contextmanager
def trainer(name: str, bed: Bed) -> Iterator[Connection]:
    """A trainer's process, ready. Ends this one when that one dies."""
    spawning = multiprocessing.get_context("spawn")
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=work, args=(name, bed, theirs))
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours
        ours.send(None)
    except EOFError:
        process.join()
        why = "too little memory, give it a smaller --budget" if process.exitcode == -SIGKILL else "see above"
        raise SystemExit(f"{name} died with exit code {process.exitcode}: {why}") from None
    finally:
        ours.close()
        process.join()


def measure(lines: Mapping[str, Connection], batches: Batches) -> Mapping[str, Sequence[Taken]]:
    """The steps of every trainer, taken in turn; a short one before them warms up and is not counted."""
    taken: dict[str, list[Taken]] = {name: [] for name in lines}
    for number, batch in enumerate([batches[0][:WARMING], *batches]):
        for name, line in lines.items():
            line.send(batch)
            step = line.recv()
            shown = f"round {number}/{len(batches)}" if number else "warming up"
            print(
                f"{shown}  {name:10} {step.seconds:8.2f} s  loss {step.loss:.5f}  {step.peak_mib:6,.0f} MiB", flush=True
            )
            if number:
                taken[name].append(step)
    return taken


def summary(taken: Mapping[str, Sequence[Taken]], batches: Batches) -> dict[str, float]:
    """Medians of time and memory, ours against the others, and how much less there was to compute in `batches`."""
    seconds = {name: statistics.median(step.seconds for step in steps) for name, steps in taken.items()}
    peaks = {name: max(step.peak_mib for step in steps) for name, steps in taken.items()}
    return {
        "times_trl": seconds["trl"] / seconds["nightshift"],
        "times_by_hand": seconds["by_hand"] / seconds["nightshift"],
        **token_ratios(batches),
        "memory_of_trl": peaks["nightshift"] / peaks["trl"],
        "loss_apart": max(abs(a.loss - b.loss) for a, b in zip(taken["nightshift"], taken["by_hand"], strict=True)),
        **{f"seconds_{name}": value for name, value in seconds.items()},
        **{f"mib_{name}": value for name, value in peaks.items()},
    }


def main() -> None:
    """Measure every model on every set, print a line each, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--sets", nargs="+", default=["singles", "conversations", "solutions"])
    parser.add_argument("--rounds", type=int, default=3 if FULL else 1)
    parser.add_argument("--budget", type=int, default=4_096, help="tokens of a forward pass")
    parser.add_argument("--autocast", choices=("auto", "on", "off"), default="off")
    chosen = parser.parse_args()
    autocast = chosen.autocast == "on" or (chosen.autocast == "auto" and native_bfloat16(device()))
    result: dict[str, object] = {"full": FULL, "rounds": chosen.rounds, "budget": chosen.budget, "autocast": autocast}
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen.models:
            bed = Bed(MODELS[model](Path(folder)), autocast, chosen.budget)
            every = sets(model, AutoTokenizer.from_pretrained(bed.folder), chosen.rounds)
            with ExitStack() as running:
                lines = {name: running.enter_context(trainer(name, bed)) for name in TRAINERS}
                for name in chosen.sets:
                    print(
                        f"{model} on {name}: {len(every[name])} batches of {[*map(len, every[name])]} pairs", flush=True
                    )
                    found = summary(measure(lines, every[name]), every[name])
                    print(", ".join(f"{key} {value:.2f}" for key, value in found.items()))
                    result[f"{model}/{name}"] = found
    where = {"device": device(), "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({**result, **where, **versions("torch", "transformers", "peft", "trl")}))


if __name__ == "__main__":
    main()
