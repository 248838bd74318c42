"""Training in two processes is training in one, only faster; a process that dies ends it, and it goes on later."""

import signal
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from loop.errors import LowMemoryError, TrainingError
from loop.machine import Machine
from loop.settings import TrainingSettings
from loop.training import Job, candidate, train
from loop.training.checkpoint import State
from loop.training.forward.logps import Scorer, score
from loop.training.launch import HANDED, LOG
from loop.training.objective.accumulate import accumulate
from loop.training.objective.reference import Reference
from loop.training.weights.activations import layers
from loop.training.weights.adapters import load, trainable
from loop.types import Objective
from tests.machine import machine
from tests.tiny import tiny_model
from tests.unit.test_training_engine import EACH_STEP, SETTINGS, examples, job
from tests.unit.test_training_logps import EXAMPLES, encoded

pytestmark = pytest.mark.usefixtures("one_thread")
TWO = replace(EACH_STEP, processes=2)
BATCH = [*EXAMPLES, encoded(15, 6, 9, seed=4), encoded(9, 5, kind=Objective.UNPAIRED, seed=5)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def gradients(base: Path, cache: Path, *, sharded: bool = False) -> tuple[dict[str, Tensor], Tensor]:
    """Of one batch, in float64, and what its answers scored, sorted."""
    model = load(base, None, rank=4, seed=0, dtype=torch.float64, device="cpu", sharded=sharded).double()
    with torch.no_grad():
        for seed, parameter in enumerate(trainable(model).values()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed)) / 8)
    scorer = Scorer(model.get_base_model(), sharded=sharded)
    champion = Reference(model, scorer, cache / "reference.json")
    done = accumulate(scorer, champion, BATCH, State(budget=4_096, delta=0.1), TrainingSettings())
    if sharded:
        with torch.no_grad():
            score(scorer, BATCH)
        own = {*trainable(model).values()}
        frozen = [p for layer in layers(model) for p in layer.parameters() if p not in own]
        assert sum(p.to_local().numel() for p in frozen) <= 0.6 * sum(p.numel() for p in frozen)
    # Sorted, because the processes share the passes out in another order than one alone computes them.
    return {name: parameter.grad for name, parameter in trainable(model).items()}, done.scored.logp.sort().values


def in_rank(rank: int, base: Path, folder: Path, sharded: bool) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(gradients(base, folder, sharded=sharded), folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.parametrize("sharded", [False, True])
def test_both_processes_have_the_gradient_of_one(base, tmp_path, sharded):
    alone, answers = gradients(base, tmp_path / "alone")
    multiprocessing.spawn(in_rank, (base, tmp_path, sharded), nprocs=2)
    for rank in (0, 1):
        found, told = torch.load(tmp_path / f"{rank}.pt")
        assert torch.allclose(told, answers, rtol=0, atol=1e-12)
        largest = max(gradient.abs().max() for gradient in alone.values())
        for name, gradient in alone.items():
            assert (found[name] - gradient).abs().max() <= 1e-8 * largest, name


@pytest.mark.parametrize("two", [TWO, replace(TWO, shard=True), replace(TWO, shard=True, activation_checkpoints=True)])
def test_a_training_in_two_processes_takes_the_steps_of_one(base, tmp_path, two):
    together = list(train(replace(job(base, tmp_path / "two"), examples=examples(9)), machine=two))
    alone = list(train(replace(job(base, tmp_path / "one"), examples=examples(9))))
    assert [step.step for step in together] == [step.step for step in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)
    assert candidate(job(base, tmp_path / "two")).metrics["steps"] == len(alone)
    assert not (tmp_path / "two" / "candidates" / "one" / LOG).exists()


def test_divided_layers_go_on_from_the_champion(base, tmp_path):
    champion = job(base, tmp_path)
    list(train(champion))
    second = replace(job(base, tmp_path, "two"), parent=champion.folder, parent_version=1)
    alone = list(train(second))
    divided = replace(second, folder=tmp_path / "divided")
    for one, other in zip(train(divided, machine=replace(TWO, shard=True)), alone, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)
    assert candidate(divided).parent_sha256 == candidate(champion).adapter_sha256


def test_a_process_that_dies_ends_the_training_which_then_goes_on(base, tmp_path, caplog):
    work = job(base, tmp_path, settings=replace(SETTINGS, epochs=200.0))
    running = train(work, machine=TWO)
    assert next(running).step == 1
    kill(lambda command: "loop.training" in command and "torch.distributed.run" not in command)
    with pytest.raises(TrainingError, match="died") as died:
        list(running)
    assert LOG in died.value.remedy
    again = train(work, machine=TWO)
    assert next(again).step > 1
    again.close()
    assert caplog.text.count("the training goes on after step") == 1
    assert not [child for child in psutil.Process().children(recursive=True) if "loop.training" in child.cmdline()]


def test_processes_wait_for_memory_together_and_do_not_begin_without_it(base, tmp_path):
    notes = []

    def note(*said: object) -> None:
        notes.append(said)

    work = job(base, tmp_path)
    full = machine(tmp_path / "full", installed=8 * 2**30, free=2**20, patience=0.05)
    with pytest.raises(LowMemoryError, match="the adapter and the longest example need"):
        list(train(work, full, note, TWO))
    assert {(stage, done, of) for stage, done, of, _ in notes} == {("train", 0, 1)}
    assert all("waits for memory" in told for *_, told in notes)
    assert not list(work.folder.glob("*.pt"))


def test_a_fault_in_the_processes_is_told_as_it_would_be_in_one(base, tmp_path):
    with pytest.raises(TrainingError, match="learnt nothing"):
        list(train(job(base, tmp_path, settings=replace(SETTINGS, learning_rate=0.0)), machine=TWO))


def train_on(work: Job, told: Connection, chosen: Machine) -> None:
    torch.set_num_threads(1)
    for step in train(work, machine=chosen):
        told.send(step)


def test_when_the_one_that_started_them_is_killed_the_processes_end_too_and_another_goes_on(base, tmp_path):
    work = job(base, tmp_path, settings=replace(SETTINGS, epochs=200.0))
    hear, told = multiprocessing.Pipe()
    starter = multiprocessing.get_context("spawn").Process(target=train_on, args=(work, told, TWO))
    starter.start()
    step = hear.recv().step
    started = psutil.Process(starter.pid).children(recursive=True)
    assert len(started) == 3
    starter.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive
    again = train(work, machine=TWO)
    assert next(again).step > step
    again.close()
    assert not (work.folder / HANDED).exists()


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_training_killed_in_the_middle_of_an_epoch_ends_with_the_bytes_of_an_undisturbed_one(base, tmp_path, steps):
    whole, broken = (job(base, tmp_path / name, settings=replace(SETTINGS, batch_examples=2)) for name in "ab")
    list(train(whole))
    hear, told = multiprocessing.Pipe()
    trainer = multiprocessing.get_context("spawn").Process(target=train_on, args=(broken, told, EACH_STEP))
    trainer.start()
    while hear.recv().step < steps:
        pass
    trainer.kill()
    trainer.join()
    assert next(train(broken)).step > steps
    list(train(broken))
    assert candidate(broken).adapter_sha256 == candidate(whole).adapter_sha256


class OfEachProcess:
    """Of several values, every process unpickles its own."""

    def __init__(self, *values: object) -> None:
        self._values = values

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return eval, ("values[int(__import__('os').environ['RANK'])]", {"values": self._values})


def test_a_fault_in_another_process_than_the_first_is_told_too(base, tmp_path):
    other = job(base, tmp_path, name="other", settings=replace(SETTINGS, rank=2))
    list(train(other))
    with pytest.raises(TrainingError, match="adapter has rank 2"):
        list(train(replace(job(base, tmp_path), parent=OfEachProcess(None, other.folder)), machine=TWO))


def kill(chosen: Callable[[list[str]], bool]) -> None:
    """SIGKILL the last of this process's descendants that is `chosen` by its command."""
    children = [child for child in psutil.Process().children(recursive=True) if chosen(child.cmdline())]
    children[-1].send_signal(signal.SIGKILL)
