"""Training on conversation logs on a GPU, in bfloat16: ours beside TRL's, for a 0.5 B and a 7 B model.

The models have Qwen2.5's shapes and random weights; both trainers use Liger's kernels where they are installed. One
trainer after the other has the GPU for itself and takes the same batches. Figures are medians over the rounds, MFU is
of the dense bfloat16 peak. Last comes one JSON object.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain
from multiprocessing import get_context
from pathlib import Path

import torch
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, Qwen2Config

from loop.models import find
from loop.settings import ModelSettings
from loop.training.batch.tokens import Encoded
from loop.training.batch.tree import grow
from tests.benchmarks import memory
from tests.benchmarks.preference_sets import Batches, conversations, singles, solutions, token_ratios
from tests.benchmarks.trainers import TRAINERS, Bed, Step
from tests.benchmarks.versions import versions

PEAK = 989e12
"""Dense bfloat16 operations a second of an H100 or H200 (SXM)."""
LONGEST = 4_096
"""Tokens of a conversation."""


@dataclass(frozen=True, slots=True)
class Size:
    """A model's shape, and what makes a step and a pass of it."""

    hidden: int
    inner: int
    layers: int
    heads: int
    key_heads: int
    budgets: Mapping[str, int]
    """Tokens of a forward pass of each trainer, as many as fit into 141 GB."""
    singles: int
    conversations: int
    questions: int


SIZES = {
    "0.5B": Size(
        896, 4_864, 24, 14, 2, {"nightshift": 65_536, "trl": 32_768}, singles=128, conversations=4, questions=32
    ),
    "7B": Size(
        3_584, 18_944, 28, 28, 4, {"nightshift": 16_384, "trl": 8_192}, singles=32, conversations=2, questions=8
    ),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one trainer on one set."""

    pairs_per_second: float
    tokens_per_second: float
    """Of all sequences, however often they were computed."""
    mfu: float
    """Of the operations this trainer could not do without: a tree's nodes once, or each row without its padding."""
    peak_gib: float
    """Model and adapter included."""
    loss: float


def write(size: Size, tokenizer: Path, folder: Path) -> None:
    """A model folder without weights."""
    config = Qwen2Config(
        vocab_size=151_936,
        hidden_size=size.hidden,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.key_heads,
        max_position_embeddings=32_768,
        architectures=["Qwen2ForCausalLM"],
        tie_word_embeddings=size.hidden < 1_024,
    )
    config.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)


def drawn(size: Size, tokenizer: Path, rounds: int) -> dict[str, Batches]:
    """The three sets, a batch to warm up and one for each round."""
    spoken = AutoTokenizer.from_pretrained(tokenizer)
    turns = conversations(spoken, (rounds + 1) * size.conversations, LONGEST)
    starts = range(0, len(turns), size.conversations)
    return {
        "singles": singles(spoken, rounds + 1, size.singles),
        "conversations": [[*chain(*turns[start : start + size.conversations])] for start in starts],
        "solutions": solutions(spoken, rounds + 1, size.questions),
    }


def operations(config: PretrainedConfig, batch: Sequence[Encoded], *, tree: bool) -> float:
    """Of a forward pass and a backward pass that needs no gradient of the frozen weights."""
    sequences = [sequence for example in batch for sequence in example.sequences]
    trees = [grow(sequences)] if tree else [grow([sequence]) for sequence in sequences]
    depths = [depth for each in trees for depth in each.depths]
    hidden, shared = config.hidden_size, config.num_key_value_heads / config.num_attention_heads
    weights = 2 * hidden * hidden * (1 + shared) + 3 * hidden * config.intermediate_size
    layer = 4 * weights * len(depths) + 12 * hidden * sum(depth + 1 for depth in depths)
    scored = sum(len(answer.ids) for example in batch for answer in example.answers)
    return config.num_hidden_layers * layer + 4 * hidden * config.vocab_size * scored


def measure(name: str, bed: Bed, sets: Mapping[str, Batches]) -> dict[str, Figures]:
    """All sets in this process, the first batch of each uncounted."""
    step, config = TRAINERS[name](bed), AutoConfig.from_pretrained(bed.folder)
    found = {}
    for kind, batches in sets.items():
        memory.forget_peak()
        taken = []
        for number, batch in enumerate(batches):
            try:
                seconds, loss = timed(step, batch)
            except torch.OutOfMemoryError as error:
                print(f"{name:10} {kind:13} does not fit: {error}", flush=True)
                break
            print(f"{name:10} {kind:13} {number}/{len(batches) - 1} {seconds:8.3f} s  loss {loss:.4f}", flush=True)
            tokens = sum(len(sequence) for example in batch for sequence in example.sequences)
            work = operations(config, batch, tree=name == "nightshift")
            taken.append((len(batch) / seconds, tokens / seconds, work / seconds / PEAK, memory.peak() / 1024, loss))
        else:
            found[kind] = Figures(*map(statistics.median, zip(*taken[1:], strict=True)))
    return found


def timed(step: Step, batch: Sequence[Encoded]) -> tuple[float, float]:
    """Seconds and loss of a step, all of the GPU's work in it."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    loss = step(batch)
    torch.cuda.synchronize()
    return time.perf_counter() - started, loss


def main() -> None:
    """Measure both trainers on every model, print a line for each set, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=[*SIZES])
    parser.add_argument("--trainers", nargs="+", choices=["nightshift", "trl"], default=["nightshift", "trl"])
    parser.add_argument("--sets", nargs="+", default=["singles", "conversations", "solutions"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizer", type=Path, help="folder of a chat tokenizer, instead of SmolLM2's")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench_gpu: no GPU here, nothing measured")
        return
    result: dict[str, object] = {"device": torch.cuda.get_device_name(), "rounds": chosen.rounds}
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = chosen.tokenizer or find(ModelSettings().base, Path(folder))
        for model in chosen.models:
            size = SIZES[model]
            write(size, tokenizer, Path(folder) / model)
            every = drawn(size, tokenizer, chosen.rounds)
            sets = {kind: every[kind] for kind in chosen.sets}
            result |= {f"{model}/{kind}": shape(batches) for kind, batches in sets.items()}
            for name in chosen.trainers:
                bed = Bed(Path(folder) / model, autocast=True, budget=size.budgets[name])
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                    found = alone.submit(measure, name, bed, sets).result()
                for kind, figures in found.items():
                    print(f"{model} {kind} {name}: {asdict(figures)}", flush=True)
                    result[f"{model}/{kind}/{name}"] = asdict(figures)
    print(json.dumps({**result, **versions("torch", "transformers", "peft", "trl", "liger-kernel")}))


def shape(batches: Batches) -> dict[str, float]:
    """Pairs of a batch, and how much less a tree has to compute."""
    return {"pairs": statistics.mean(map(len, batches[1:])), **token_ratios(batches[1:])}


if __name__ == "__main__":
    main()
