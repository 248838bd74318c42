"""Whole trainings of a tiny model: they learn, resume to the same bytes, and stock peft loads what they leave."""

import itertools
import json
import warnings
from collections.abc import Iterator
from dataclasses import replace
from math import inf, isnan, log
from pathlib import Path

import pytest
import safetensors.torch
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig

from loop.app import silent
from loop.cache import read_cache, write_cache
from loop.errors import NotFoundError, TrainingError, UsageError
from loop.hashing import adapter_sha256
from loop.machine import BY_RULE, Machine
from loop.memory import MEMORY
from loop.settings import PairSettings, TrainingSettings, UnpairedSettings
from loop.training import Job, Step, candidate, checkpoint, engine, train
from loop.training.batch.tokens import Encoded
from loop.training.forward.logps import Scored, Scorer, score
from loop.training.weights.average import Average
from loop.types import Branch, Candidate, Example, FeedbackKind, Message, Objective
from tests.machine import machine as memory
from tests.passes import passes
from tests.tiny import tiny_model, tiny_tokenizer
from tests.unit.test_training_tokens import example

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = TrainingSettings(rank=4, learning_rate=1e-2, batch_examples=4, epochs=2.0, min_steps=0)
EACH_STEP, RARELY = Machine(checkpoint_minutes=0.0), Machine(checkpoint_minutes=60.0)
"""When a checkpoint is written."""


def examples(count: int = 12) -> tuple[Example, ...]:
    """Edits, thumbs both ways and a demonstration, each with a prompt of its own."""
    made = []
    for i in range(count):
        prompt = (Message("user", f"Where is order {i}?"),)
        edit = example("Order is late.", "Order is lost.", prompt=prompt, signal=FeedbackKind.EDIT)
        thumb = example(
            f"Answer {i}.", prompt=prompt, objective=Objective.UNPAIRED, signal=FeedbackKind.THUMB, score=(-1.0) ** i
        )
        shown = example("Refund.", prompt=prompt, objective=Objective.DEMONSTRATION, signal=FeedbackKind.DEMONSTRATION)
        made.append(replace([edit, thumb, edit, thumb, shown][i % 5], example_id=str(i)))
    return tuple(made)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("base"))


def job(base: Path, home: Path, name: str = "one", settings: TrainingSettings = SETTINGS) -> Job:
    return Job(
        job_id=name,
        snapshot_id="snapshot",
        examples=examples(),
        base=base,
        parent=None,
        parent_version=0,
        folder=home / "candidates" / name,
        cache=home / "cache",
        settings=settings,
        dtype="float32",
    )


def steps(job: Job, machine: Machine = EACH_STEP) -> list[Step]:
    return list(train(job, machine=machine))


def break_off(job: Job, after: int, machine: Machine = EACH_STEP) -> None:
    """Train `job` and leave it after so many steps."""
    running = train(job, machine=machine)
    for _ in range(after):
        next(running)
    running.close()


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory) -> Candidate:
    """What `job` becomes when nothing disturbs it."""
    undisturbed = job(base, tmp_path_factory.mktemp("whole"))
    steps(undisturbed)
    return candidate(undisturbed)


def test_a_training_learns_and_leaves_a_candidate(base, tmp_path):
    work = job(base, tmp_path)
    taken = steps(work)
    assert [step.step for step in taken] == [1, 2, 3, 4, 5, 6]
    assert taken[0].metrics["dpo_loss"] == pytest.approx(log(2), abs=1e-6)
    assert taken[-1].metrics["loss"] < taken[0].metrics["loss"]
    made = candidate(work)
    assert made.adapter_sha256 == adapter_sha256(work.folder)
    assert made.parent_sha256 is None
    assert (made.metrics["examples"], made.metrics["dropped"], made.metrics["budget_hit"]) == (12, 0, 0)
    assert sorted(path.name for path in work.folder.iterdir() if path.name != "README.md") == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    ]


def test_a_finished_folder_yields_nothing_and_an_unfinished_one_has_no_candidate(base, tmp_path):
    work = job(base, tmp_path)
    with pytest.raises(NotFoundError):
        candidate(work)
    steps(work)
    assert steps(work) == []


@pytest.mark.parametrize("killed_after", [1, 4])
def test_a_killed_training_ends_with_the_bytes_of_an_undisturbed_one(base, whole, tmp_path, killed_after, caplog):
    broken = job(base, tmp_path)
    break_off(broken, killed_after)
    rest = steps(broken)
    assert rest[0].step == killed_after + 1
    assert f"goes on after step {killed_after} and" in caplog.text
    assert candidate(broken).adapter_sha256 == whole.adapter_sha256


def watched(job: Job, machine: Machine) -> Iterator[Step]:
    """The steps of a training whose clock is 20 seconds further at every look."""
    ticks = itertools.count(step=20.0)
    return engine.train(job, MEMORY, silent, machine, clock=lambda: next(ticks))


def test_the_seconds_before_a_kill_count_after_it(base, tmp_path):
    before = [*itertools.islice(watched(job(base, tmp_path), EACH_STEP), 4)]
    assert next(watched(job(base, tmp_path), EACH_STEP)).seconds > before[-1].seconds


def test_a_checkpoint_keeps_all_that_a_training_knows_of_itself(tmp_path):
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    kept = checkpoint.State(7, 61.5, 512, 0.25, 2, ({"loss": 1.0}, {"loss": inf}))
    checkpoint.save(tmp_path, "snapshot key", kept, model, optimizer, Average())
    assert checkpoint.resume(tmp_path, "snapshot key", model, optimizer, Average()) == kept


def emptied(content: bytes) -> bytes:
    return content[:0]


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


def with_one_wrong_bit(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [emptied, halved, with_one_wrong_bit])
@pytest.mark.parametrize("damaged", ["checkpoint.pt", "*.json"])
def test_a_damaged_checkpoint_or_cache_costs_its_work_and_nothing_else(base, whole, tmp_path, damaged, damage, caplog):
    broken = job(base, tmp_path)
    break_off(broken, 1)
    [file] = [*broken.folder.glob(damaged), *broken.cache.glob(damaged)]
    file.write_bytes(damage(file.read_bytes()))
    rest = steps(broken)
    if file.parent == broken.folder:
        assert f"{file} is damaged" in caplog.text
    assert rest[0].step == (1 if file.parent == broken.folder else 2)
    assert candidate(broken).adapter_sha256 == whole.adapter_sha256


def test_the_checkpoint_of_another_job_is_not_resumed_and_said_to_be_given_up(base, tmp_path, caplog):
    break_off(job(base, tmp_path), 1)
    other = job(base, tmp_path, settings=replace(SETTINGS, pair=PairSettings(beta=0.2)))
    assert steps(other)[0].step == 1
    assert f"{other.folder / 'checkpoint.pt'} is of another job or precision" in caplog.text


def test_a_training_that_stopped_with_other_settings_is_named(base, tmp_path, caplog):
    break_off(stopped := job(base, tmp_path), 1)
    break_off(replace(job(base, tmp_path, "elsewhere"), snapshot_id="another"), 1)
    caplog.clear()
    steps(job(base, tmp_path, "two", settings=replace(SETTINGS, pair=PairSettings(beta=0.2))))
    [told] = [record.message for record in caplog.records if "other settings" in record.message]
    assert str(stopped.folder) in told


def test_stock_peft_loads_the_adapter(base, tmp_path):
    work = job(base, tmp_path)
    steps(work)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 reads a renamed transformers property
        loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), work.folder)
    inputs = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        adapted = loaded(inputs).logits
        with loaded.disable_adapter():
            assert not torch.allclose(adapted, loaded(inputs).logits)
    assert json.loads((work.folder / "adapter_config.json").read_text())["lora_alpha"] == 8


def test_a_second_night_starts_from_the_champion_and_compares_with_it(base, tmp_path):
    first = job(base, tmp_path)
    steps(first)
    second = replace(job(base, tmp_path, "two"), parent=first.folder, parent_version=1)
    taken = steps(second)
    assert taken[0].metrics["dpo_loss"] == pytest.approx(log(2), abs=1e-6)
    assert taken[0].metrics["nll"] < 0.9 * steps_of_night_one(base, tmp_path)[0].metrics["nll"]
    assert candidate(second).parent_sha256 == candidate(first).adapter_sha256


def steps_of_night_one(base: Path, home: Path) -> list[Step]:
    return steps(job(base, home, "one again"))


def test_a_reference_that_is_not_the_champion_stops_the_training(base, tmp_path):
    work = job(base, tmp_path)
    break_off(work, 1)
    (work.folder / "checkpoint.pt").unlink()
    [cached] = work.cache.glob("*.json")
    write_cache(cached, {key: logp - 40 * i for i, (key, logp) in enumerate(read_cache(cached).items())})
    with pytest.raises(TrainingError, match="before the first step"):
        steps(work)


def test_another_rank_than_the_champions_is_refused(base, tmp_path):
    first = job(base, tmp_path)
    steps(first)
    second = replace(job(base, tmp_path, "two", replace(SETTINGS, rank=8)), parent=first.folder)
    with pytest.raises(TrainingError, match="rank 4"):
        steps(second)


@pytest.mark.parametrize(
    ("ending", "ended"),
    [
        ({}, "`epochs` and `min_steps`"),
        ({"budget_tokens": 1}, "the budget that cut it short"),
    ],
)
def test_a_run_that_learns_nothing_is_an_error_and_says_what_ended_it(base, tmp_path, ending, ended):
    work = job(base, tmp_path, settings=replace(SETTINGS, learning_rate=0.0, **ending))
    with pytest.raises(TrainingError, match="learnt nothing") as told:
        steps(work)
    assert f"`learning_rate` or {ended}" in told.value.remedy


@pytest.mark.parametrize(("learning_rate", "alarm"), [(1e-9, 1.0), (1e-2, None)])
def test_a_run_that_hardly_moves_is_an_alarm(base, tmp_path, learning_rate, alarm, caplog):
    work = job(base, tmp_path, settings=replace(SETTINGS, learning_rate=learning_rate, budget_tokens=400))
    steps(work)
    assert candidate(work).metrics.get("alarm_hardly_moved") == alarm
    assert ("the budget that cut it short" in caplog.text) is bool(alarm)


def test_a_run_that_diverges_is_an_error(base, tmp_path):
    work = job(base, tmp_path)
    infinite = replace(
        work.examples[0], branches=tuple(replace(b, score=b.score * float("inf")) for b in work.examples[0].branches)
    )
    running = train(replace(work, examples=(infinite,) * 4))
    assert isnan(next(running).metrics["loss"])
    with pytest.raises(TrainingError, match="not finite"):
        list(running)


@pytest.mark.parametrize(("learning_rate", "taken"), [(1e38, 2), (1e300, 1)])
def test_a_run_that_diverges_in_its_last_step_is_an_error(base, tmp_path, learning_rate, taken):
    work = job(base, tmp_path, settings=replace(SETTINGS, learning_rate=learning_rate, batch_examples=12, epochs=taken))
    with pytest.raises(TrainingError, match=f"not finite after {taken} steps"):
        steps(work)


def test_a_step_that_leaps_is_left_out_and_counted(base, tmp_path):
    # Of the three steps one has the pair, whose loss is finite and whose gradient no float32 can hold.
    leaping = replace(SETTINGS, epochs=1.0, pair=PairSettings(beta=1e300))
    work = job(base, tmp_path, settings=leaping)
    shown = [each for each in work.examples if each.objective is not Objective.PAIR]
    [pair, *_] = [each for each in work.examples if each.objective is Objective.PAIR]
    others = [replace(shown[i % len(shown)], example_id=f"shown {i}") for i in range(11)]
    taken = steps(replace(work, examples=(pair, *others)))
    made = candidate(work)
    assert (len(taken), made.metrics["skipped"]) == (3, 1)
    weights = safetensors.torch.load_file(work.folder / "adapter_model.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize("killed_after", [1, 2, 3, 4, 5])
def test_an_answer_in_several_pairs_keeps_its_reference_through_a_kill(base, tmp_path, killed_after, monkeypatch):
    def rounded_by_its_pass(scorer: Scorer, batch: list[Encoded]) -> Scored:
        scored = score(scorer, batch)
        return replace(scored, logp=scored.logp + 1e-3 * sum(each.size for each in batch))

    # Which passes round differently depends on the processor, and seconds between two writes would have to pass.
    monkeypatch.setattr("loop.training.objective.reference.score", rounded_by_its_pass)
    monkeypatch.setattr("loop.training.objective.reference.SAVE_SECONDS", 0.0)
    prompt = (Message("user", "Where is order 1?"),)
    shared = tuple(
        replace(
            example("On its way to you.", "x" * (9 * i + 1), prompt=prompt, signal=FeedbackKind.EDIT), example_id=str(i)
        )
        for i in range(12)
    )
    pairs = replace(SETTINGS, batch_examples=2)
    whole, broken = (replace(job(base, tmp_path / name, settings=pairs), examples=shared) for name in "ab")
    steps(whole, RARELY)
    break_off(broken, killed_after, RARELY)
    steps(broken, RARELY)
    assert candidate(broken).adapter_sha256 == candidate(whole).adapter_sha256


def test_a_ranking_is_learnt_in_its_order(base, tmp_path):
    ranked = [
        example("Late.", "Lost.", "Gone.", prompt=(Message("user", f"Order {i}?"),), objective=Objective.RANKING)
        for i in range(4)
    ]
    gently = replace(SETTINGS, epochs=10.0, learning_rate=1e-3)
    taken = steps(replace(job(base, tmp_path, settings=gently), examples=tuple(ranked)))
    assert taken[0].metrics["ranking_loss"] == pytest.approx(log(6), abs=1e-2)
    assert taken[-1].metrics["ranking_loss"] < log(6) - 0.05
    assert taken[-1].metrics["accuracy"] == 1.0


def test_an_example_that_cannot_fit_ends_the_training_before_its_first_pass(base, tmp_path):
    longest = example("late " * 200, objective=Objective.DEMONSTRATION, signal=FeedbackKind.DEMONSTRATION)
    work = replace(job(base, tmp_path), examples=(*examples(), longest))
    with passes() as seen, pytest.raises(TrainingError, match="may be used"):
        list(train(work, memory(tmp_path / "small", installed=2**18, free=2**33)))
    assert 0 < max(columns for _, columns in seen) < 200


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000]),
        lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
        lambda folder: (folder / "config.json").write_text("{bad"),
        lambda folder: LlamaConfig.from_pretrained(folder, intermediate_size=96).save_pretrained(folder),
        lambda folder: LlamaConfig.from_pretrained(folder, num_hidden_layers=3).save_pretrained(folder),
    ],
    ids=["weights", "tokenizer", "config", "shapes", "layers"],
)
def test_a_base_model_that_is_damaged_is_named(tmp_path, damage):
    damaged = tiny_model(tmp_path / "base")
    damage(damaged)
    with pytest.raises(UsageError, match="holds no model that can be loaded") as told:
        steps(job(damaged, tmp_path))
    assert str(damaged) in told.value.what


def test_nothing_to_train_on_is_an_error(base, tmp_path):
    empty = replace(examples(5)[4], branches=(Branch(Message("assistant", "")),))
    with pytest.raises(TrainingError, match="none of 1 examples"):
        steps(replace(job(base, tmp_path), examples=(empty,)))


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # peft says that it sets it right itself
def test_no_example_is_longer_than_the_model_has_positions(tmp_path):
    tokenizer = tiny_tokenizer()
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2
    )
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    tokenizer.save_pretrained(tmp_path / "gpt2")
    told = (Message("user", "Where is order 4711? " * 20), Message("assistant", "Late."), Message("user", "Refund?"))
    long = replace(examples(1)[0], prompt=told)
    work = replace(job(tmp_path / "gpt2", tmp_path), examples=(long, *examples(4)))
    steps(work)
    metrics = candidate(work).metrics
    assert (metrics["examples"], metrics["truncated"], metrics["dropped"]) == (5, 1, 0)
    too_long = replace(examples(5)[4], branches=(Branch(Message("assistant", told[0].content)),))
    with pytest.raises(TrainingError, match="more positions than 64"):
        steps(replace(job(tmp_path / "gpt2", tmp_path, "long"), examples=(too_long,)))


def test_a_step_that_would_outlast_the_budget_is_not_begun(base, tmp_path):
    work = job(base, tmp_path, settings=replace(SETTINGS, budget_minutes=1.5))
    taken = [*watched(work, RARELY)]
    assert 20 < taken[-1].seconds <= 90
    assert taken[-1].seconds + taken[-1].seconds / len(taken) > 90
    assert candidate(work).metrics["budget_hit"] == 1.0


def test_a_spent_budget_ends_the_training_with_the_adapter_as_it_is(base, tmp_path):
    work = job(base, tmp_path, settings=replace(SETTINGS, budget_minutes=1e-9))
    running = train(job(base, tmp_path, settings=work.settings))
    assert len(list(running)) == 1
    assert candidate(work).metrics["budget_hit"] == 1.0


def test_the_champion_is_asked_only_about_examples_that_training_reaches(base, tmp_path):
    work = job(base, tmp_path, settings=replace(SETTINGS, budget_minutes=1e-9, batch_examples=1))
    steps(replace(work, examples=tuple(e for e in work.examples if e.objective is Objective.PAIR)))
    [cached] = work.cache.glob("*.json")
    assert len(read_cache(cached)) == 2


def test_micro_batches_do_not_change_what_is_learnt(base, tmp_path):
    whole = steps(job(base, tmp_path / "a"), Machine(autocast=False))
    cut = steps(job(base, tmp_path / "b"), Machine(autocast=False, pass_tokens=1))
    for one, other in zip(whole, cut, strict=True):
        for name in ("loss", "grad_norm", "kl"):
            assert other.metrics[name] == pytest.approx(one.metrics[name], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(("machine", "loss"), [(Machine(autocast=True), "bco"), (BY_RULE, "kto")])
def test_other_numbers_and_losses_learn_too(base, tmp_path, machine, loss):
    settings = replace(SETTINGS, unpaired=UnpairedSettings(type=loss))
    work = replace(job(base, tmp_path, settings=settings), dtype="bfloat16")
    taken = steps(work, machine)
    assert taken[0].metrics["dpo_loss"] == pytest.approx(log(2), abs=0.02)
    assert taken[-1].metrics["nll"] < taken[0].metrics["nll"]
    weights = safetensors.torch.load_file(work.folder / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
