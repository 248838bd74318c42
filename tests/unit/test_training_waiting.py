"""A training waits for memory, goes on when there is enough, and does not begin where there never is."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from loop.errors import LowMemoryError
from loop.hashing import adapter_sha256
from loop.training import Job, train
from tests.machine import has_free, machine
from tests.tiny import tiny_model
from tests.unit.test_training_engine import SETTINGS, job

pytestmark = pytest.mark.usefixtures("one_thread")
GIB = 2**30


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


@dataclass
class Watcher:
    """Progress that keeps every note, and gives memory free when somebody has waited often enough."""

    folder: Path
    patience: int
    notes: list[str] = field(default_factory=list)

    def __call__(self, stage: str, done: int, of: int, note: str) -> None:
        self.notes.append(f"{stage} {done}/{of} {note}")
        if sum("waits" in each for each in self.notes) == self.patience:
            has_free(self.folder, 8 * GIB, 8 * GIB)


def manifest(work: Job) -> dict[str, object]:
    return json.loads((work.folder / "manifest.json").read_text())


@pytest.mark.parametrize("free", [0, 2**19])
def test_a_training_waits_until_there_is_memory_and_then_makes_the_same_bytes(base, tmp_path, free, caplog):
    undisturbed, waited = (job(base, tmp_path / name) for name in ("a", "b"))
    list(train(undisturbed, machine(tmp_path / "roomy", installed=8 * GIB)))
    watcher = Watcher(tmp_path / "full", patience=3)
    full = machine(watcher.folder, installed=8 * GIB, free=free, patience=60.0)
    assert len(list(train(waited, full, watcher))) == 6
    assert "train 0/1 waits for memory: the " in watcher.notes[0]
    assert sum("waits" in note for note in watcher.notes) == 3
    assert "the training begins" in caplog.text
    assert adapter_sha256(waited.folder) == adapter_sha256(undisturbed.folder)
    assert manifest(waited)["machine"] == manifest(undisturbed)["machine"]


@pytest.mark.parametrize(("free", "what"), [(2**10, "the model's weights need"), (2**19, "the adapter and ")])
def test_a_training_that_waited_in_vain_did_not_begin(base, tmp_path, free, what):
    work = job(base, tmp_path)
    with pytest.raises(LowMemoryError, match=what) as told:
        list(train(work, machine(tmp_path / "full", installed=8 * GIB, free=free, patience=0.03)))
    assert "GiB of memory are free after" in told.value.what
    assert not list(work.folder.glob("*"))
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)  # noqa: S301 - our own


def test_the_manifest_says_what_was_chosen_for_the_machine(base, tmp_path):
    work = job(base, tmp_path)
    list(train(work, machine(tmp_path / "roomy", installed=8 * GIB)))
    chosen = manifest(work)["machine"]
    assert chosen["installed_bytes"] == 8 * GIB
    assert chosen["pass_tokens"] == 8_192
    assert chosen["threads"] == torch.get_num_threads()
    assert chosen["instruction_set"].startswith(torch.backends.cpu.get_cpu_capability())
    assert (chosen["layout"], chosen["weights"], chosen["autocast"]) == ("spans", "float32", chosen["autocast"])


@pytest.mark.parametrize(("installed", "again"), [(2**33, False), (2**20, True)])
def test_layers_are_computed_again_only_where_the_longest_example_would_not_fit_without(
    base, tmp_path, installed, again, caplog
):
    work = job(base, tmp_path)
    taken = list(train(work, machine(tmp_path / "memory", installed=installed, free=2**33)))
    assert taken[-1].metrics["loss"] < taken[0].metrics["loss"]
    assert manifest(work)["machine"]["activation_checkpoints"] is again
    assert ("each layer is computed again in backward" in caplog.text) is again


def test_a_training_says_how_large_it_is_before_its_first_step(base, tmp_path, caplog):
    watcher = Watcher(tmp_path, patience=0)
    steps = train(job(base, tmp_path), progress=watcher)
    next(steps)
    steps.close()
    [note] = watcher.notes
    assert note.startswith("train 0/6 12 examples, 6 steps, ")
    assert note.endswith("; about 1 minute on this machine")
    assert f"training: {note.removeprefix('train 0/6 ')}" in caplog.text


def test_a_budget_of_tokens_trains_on_the_newest_and_says_what_it_left_out(base, tmp_path, caplog):
    work = job(base, tmp_path, settings=replace(SETTINGS, budget_tokens=200, epochs=1.0))
    list(train(work))
    metrics = manifest(work)["metrics"]
    assert 0 < metrics["tokens"] <= 200
    assert metrics["examples"] + metrics["left_out"] == 12
    assert metrics["budget_hit"] == 1.0
    assert f"`budget_tokens` leaves out the {metrics['left_out']:.0f} oldest examples" in caplog.text
    newest = replace(job(base, tmp_path, "newest"), examples=work.examples[int(metrics["left_out"]) :])
    list(train(replace(newest, settings=replace(SETTINGS, epochs=1.0))))
    assert manifest(newest)["metrics"]["tokens"] == metrics["tokens"]


@contextmanager
def busy_cores() -> Iterator[None]:
    """A loop without end on each core."""
    with ExitStack() as running:
        for _ in range(os.cpu_count() or 1):
            loop = running.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            running.callback(loop.kill)
        yield


def test_a_training_beside_a_busy_loop_on_each_core_makes_the_same_bytes(base, tmp_path):
    beside, alone = (job(base, tmp_path / name) for name in ("a", "b"))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    with busy_cores():
        list(train(beside))
    list(train(alone))
    torch.set_num_threads(threads)
    assert adapter_sha256(beside.folder) == adapter_sha256(alone.folder)
    assert manifest(beside)["machine"] == manifest(alone)["machine"]
