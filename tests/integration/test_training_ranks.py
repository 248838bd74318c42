"""Training in two processes is training in one, only faster; a process that dies ends it, and it goes on later.

Where it does not matter that torchrun starts the processes, they are forked from one that has imported everything.
"""

import pickle
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
from loop.memory import MEMORY
from loop.settings import TrainingSettings
from loop.training import Job, Step, candidate, engine, train
from loop.training.checkpoint import State
from loop.training.forward.logps import Scorer, score
from loop.training.launch import HANDED, LOG
from loop.training.objective.accumulate import accumulate
from loop.training.objective.reference import Reference
from loop.training.weights.activations import layers
from loop.training.weights.adapters import load, trainable
from loop.types import Objective
from tests.forked import FORKED
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


def in_two(work: Callable[..., object], folder: Path, *arguments: object, **named: object) -> list[object]:
    """What `work` returns in each of two processes that have met."""
    folder.mkdir(exist_ok=True)
    multiprocessing.start_processes(_in_rank, (work, folder, arguments, named), nprocs=2, start_method=FORKED)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]  # noqa: S301 - `_in_rank`'s


def _in_rank(
    rank: int, work: Callable[..., object], folder: Path, arguments: tuple[object, ...], named: dict[str, object]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(work(*arguments, **named)))
    distributed.barrier()
    distributed.destroy_process_group()


def taken(work: Job, chosen: Machine) -> list[Step]:
    """The steps of a training, as each of its processes sees them."""
    return list(engine.train(work, MEMORY, lambda *_: None, chosen))


def fault(work: Job, chosen: Machine) -> str:
    """What a process of a training raises."""
    with pytest.raises(TrainingError) as raised:
        taken(work, chosen)
    return raised.value.what


def assert_same(together: list[Step], alone: list[Step]) -> None:
    assert [step.step for step in together] == [step.step for step in alone]
    for one, other in zip(together, alone, strict=True):
        assert one.metrics["loss"] == pytest.approx(other.metrics["loss"], rel=1e-3)


@pytest.mark.parametrize("sharded", [False, True])
def test_both_processes_have_the_gradient_of_one(base, tmp_path, sharded):
    alone, answers = gradients(base, tmp_path / "alone")
    for found, told in in_two(gradients, tmp_path / "two", base, tmp_path / "two", sharded=sharded):
        assert torch.allclose(told, answers, rtol=0, atol=1e-12)
        largest = max(gradient.abs().max() for gradient in alone.values())
        for name, gradient in alone.items():
            assert (found[name] - gradient).abs().max() <= 1e-8 * largest, name


def test_a_training_in_two_processes_takes_the_steps_of_one(base, tmp_path):
    together = list(train(replace(job(base, tmp_path / "two"), examples=examples(9)), machine=TWO))
    alone = list(train(replace(job(base, tmp_path / "one"), examples=examples(9))))
    assert_same(together, alone)
    assert candidate(job(base, tmp_path / "two")).metrics["steps"] == len(alone)
    assert not (tmp_path / "two" / "candidates" / "one" / LOG).exists()


def test_divided_layers_that_are_computed_again_take_the_steps_of_one_process(base, tmp_path):
    again = replace(TWO, shard=True, activation_checkpoints=True)
    together = replace(job(base, tmp_path / "two"), examples=examples(9))
    alone = list(train(replace(job(base, tmp_path / "one"), examples=examples(9))))
    for steps in in_two(taken, tmp_path / "two", together, again):
        assert_same(steps, alone)
    assert candidate(together).metrics["steps"] == len(alone)


def test_divided_layers_go_on_from_the_champion(base, tmp_path):
    champion = job(base, tmp_path)
    list(train(champion))
    second = replace(job(base, tmp_path, "two"), parent=champion.folder, parent_version=1)
    alone = list(train(second))
    divided = replace(second, folder=tmp_path / "divided")
    for steps in in_two(taken, tmp_path / "met", divided, replace(TWO, shard=True)):
        assert_same(steps, alone)
    assert candidate(divided).parent_sha256 == candidate(champion).adapter_sha256


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


def test_a_training_that_learns_nothing_is_a_fault_of_each_of_its_processes(base, tmp_path):
    idle = job(base, tmp_path, settings=replace(SETTINGS, learning_rate=0.0))
    assert all("learnt nothing" in told for told in in_two(fault, tmp_path / "two", idle, TWO))


def train_on(work: Job, told: Connection, chosen: Machine) -> None:
    torch.set_num_threads(1)
    for step in train(work, machine=chosen):
        told.send(step)


def test_processes_end_with_their_starter_and_with_each_other_and_the_next_ones_go_on(base, tmp_path, caplog):
    work = job(base, tmp_path, settings=replace(SETTINGS, epochs=200.0))
    hear, told = multiprocessing.Pipe()
    starter = multiprocessing.get_context(FORKED).Process(target=train_on, args=(work, told, TWO))
    starter.start()
    step = hear.recv().step
    started = psutil.Process(starter.pid).children(recursive=True)
    assert len(started) == 3
    starter.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert not alive

    running = train(work, machine=TWO)
    assert (reached := next(running).step) > step
    kill(lambda command: "loop.training" in command and "torch.distributed.run" not in command)
    with pytest.raises(TrainingError, match="died") as died:
        list(running)
    assert LOG in died.value.remedy
    assert not (work.folder / HANDED).exists()
    again = train(work, machine=TWO)
    assert next(again).step > reached
    again.close()
    assert caplog.text.count("the training goes on after step") == 2
    assert not [child for child in psutil.Process().children(recursive=True) if "loop.training" in child.cmdline()]


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_a_training_killed_in_the_middle_of_an_epoch_ends_with_the_bytes_of_an_undisturbed_one(base, tmp_path, steps):
    whole, broken = (job(base, tmp_path / name, settings=replace(SETTINGS, batch_examples=2)) for name in "ab")
    list(train(whole))
    hear, told = multiprocessing.Pipe()
    trainer = multiprocessing.get_context(FORKED).Process(target=train_on, args=(broken, told, EACH_STEP))
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
