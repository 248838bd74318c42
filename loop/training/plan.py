"""Plan of a training: every decision before the first step, from the job and the machine, unchanged after it."""

import logging
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoTokenizer

from loop.errors import TrainingError
from loop.hashing import adapter_sha256, digest
from loop.machine import Machine
from loop.memory import Memory
from loop.models import fingerprint, readable
from loop.ports import Progress
from loop.settings import TrainingSettings, hashed_training
from loop.settings.constants import WEIGHT_DECAY
from loop.training import preflight, ranks
from loop.training.batch.schedule import affordable, batches, families, order, showings
from loop.training.batch.tokens import Encoded, Encoding, encode
from loop.training.forward.logps import Scorer, choose_layout
from loop.training.forward.spans import spans
from loop.training.job import Job
from loop.training.objective.reference import Reference
from loop.training.waiting import await_memory, weights_bytes
from loop.training.weights import adapters, precision
from loop.training.weights.average import Average
from loop.training.weights.precision import Precision
from loop.types import Json

_LOG = logging.getLogger(__name__)
HEAVIEST_STEPS = 32
"""Number of steps whose passes are laid out to find the largest; thousands of steps would take minutes."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that stays the same while a job trains."""

    job: Job
    key: str
    """Identity of the job, by which a training recognises its own checkpoint; it begins with the snapshot's id."""
    model: PeftModel
    scorer: Scorer
    optimizer: torch.optim.Optimizer
    average: Average
    """Mean of the adapter over the last steps; beside model and optimiser, the only part that a step changes."""
    encoding: Encoding
    reference: Reference
    batches: list[list[int]]
    wanted: int
    """Number of batches without a budget of tokens."""
    left_out: int
    """Number of examples that a budget of tokens leaves out, the oldest."""
    pass_tokens: int
    """Tokens of a forward pass, the same in every process."""
    machine: Mapping[str, Json]
    """Choices made for this machine and what they follow from."""
    began_as: str
    """sha256 of the adapter's weights before step 0."""


def prepare(job: Job, read: Memory, progress: Progress, machine: Machine) -> Plan:
    """Plan of `job`, with its model loaded; waits until enough of the memory that `read` watches is free.

    What `machine` leaves open is chosen by rule, from model, data, processor and installed memory. Raises
    TrainingError without a trainable example or when one cannot fit, LowMemoryError when memory stays taken.
    """
    settings = job.settings
    computed = precision.choose(job.dtype, machine.autocast)
    encoding = _encoded(job)
    model, sharded = _model(job, computed, read, progress, machine)
    scorer = _scorer(model, computed, encoding, read, progress, machine, sharded=sharded)
    often = showings(len(encoding.examples), settings)
    every = order(families(encoding.examples), often, settings.seed)
    shown = affordable(every, [example.size for example in encoding.examples], settings.budget_tokens)
    steps, (probe, largest) = batches(shown, settings.batch_examples), _probes(encoding)
    # The smallest of all processes: each cuts the whole batch, so all have to cut it alike.
    pass_tokens = min(ranks.everyones(preflight.budget(scorer, probe, largest, read, machine.pass_tokens)))
    _await_passes(scorer, encoding, steps, pass_tokens, read, progress)
    chosen = _chosen(scorer, computed, pass_tokens)
    parent = adapter_sha256(job.parent) if job.parent else None
    made_from = digest([fingerprint(job.base), parent, str(computed.weights), computed.autocast, settings.quantize])
    # Another machine, or passes of another size, round log-probabilities differently: those have a file of their own.
    reference = job.cache / f"{digest([made_from, chosen])[:16]}.json"
    made_with = [made_from, hashed_training(settings), [each.example_id for each in job.examples]]
    return Plan(
        job=job,
        key=f"{job.snapshot_id} {digest(made_with)}",
        model=model,
        scorer=scorer,
        optimizer=torch.optim.AdamW(adapters.trainable(model).values(), weight_decay=WEIGHT_DECAY, fused=True),
        average=Average(),
        encoding=encoding,
        reference=Reference(model, scorer, reference),
        batches=steps,
        wanted=len(batches(every, settings.batch_examples)),
        left_out=len(set(every)) - len(set(shown)),
        pass_tokens=pass_tokens,
        machine=chosen | _chosen_for_memory(scorer, read),
        began_as=adapters.weights_sha256(model),
    )


def _encoded(job: Job) -> Encoding:
    """The train split as token ids. Raises TrainingError when it has no example left."""
    with readable(job.base):
        tokenizer = AutoTokenizer.from_pretrained(job.base)
        fitting = _fitting(job)
    encoding = encode(job.examples, tokenizer, fitting)
    if not encoding.examples:
        raise TrainingError(f"none of {len(job.examples)} examples can be trained on", _longer(job, fitting))
    return encoding


def _fitting(job: Job) -> TrainingSettings:
    """The job's settings, with `max_tokens` lowered to the positions of the base model."""
    config = AutoConfig.from_pretrained(job.base).get_text_config()
    positions = getattr(config, "max_position_embeddings", job.settings.max_tokens)
    return replace(job.settings, max_tokens=min(job.settings.max_tokens, positions))


def _longer(job: Job, fitting: TrainingSettings) -> str:
    """Remedy where every example may have been too long."""
    allowed = "raise `max_tokens` under [training]"
    if fitting.max_tokens < job.settings.max_tokens:
        allowed = f"train a base model with more positions than {fitting.max_tokens:,} or send it shorter prompts"
    return f"{allowed}, or look into the snapshot for empty or equal answers"


def _model(job: Job, computed: Precision, read: Memory, progress: Progress, machine: Machine) -> tuple[PeftModel, bool]:
    """The base model under the adapter, loaded once there is free memory for its weights, and whether it is sharded."""
    settings = job.settings
    device, quantized = torch.device(computed.device), _quantized(settings)
    with readable(job.base):
        weights = weights_bytes(job.base, computed.weights, quantized=quantized)
    sharded = _sharded(weights, device, read, machine) and not quantized
    # A sharded model is read on the CPU, whole in every process; a GPU gets only its share.
    share = weights // ranks.count() if sharded and device.type == "cuda" else weights
    await_memory(share, "the model's weights", device, read, progress)
    model = adapters.load(
        job.base,
        job.parent,
        rank=settings.rank,
        seed=settings.seed,
        dtype=computed.weights,
        device=computed.device,
        sharded=sharded,
        quantized=quantized,
    )
    return model, sharded


def _scorer(
    model: PeftModel,
    computed: Precision,
    encoding: Encoding,
    read: Memory,
    progress: Progress,
    machine: Machine,
    *,
    sharded: bool,
) -> Scorer:
    """Scorer with the layout that suits the model, tried only once the longest example fits and its memory is free."""
    wanted = Scorer(model.get_base_model(), computed.autocast, spans if machine.tree else None, sharded)
    # To try a layout takes a pass over the longest example. Rows need the most memory: what fits in rows can be tried.
    rows, (probe, largest) = replace(wanted, attention=None), _probes(encoding)
    again = machine.activation_checkpoints
    if again is None:
        # One process's answer holds for all: they compute the same passes.
        again = not all(ranks.everyones(preflight.has_room(rows, probe, largest, read)))
        if again:
            _LOG.warning(
                "each layer is computed again in backward, which takes longer: the longest example (%s tokens) would "
                "not fit into memory otherwise",
                f"{largest.size:,}",
            )
    if again:
        adapters.checkpoint_activations(model)
    preflight.require_room(rows, probe, largest, read)
    need = preflight.needed(rows, probe, rows.size([largest]))
    await_memory(need, "the adapter and the longest example", wanted.model.device, read, progress)
    return choose_layout(wanted, encoding.examples)


def _quantized(settings: TrainingSettings) -> bool:
    match settings.quantize:
        case "nf4":
            return True
        case "none":
            return False


def _sharded(weights: int, device: torch.device, read: Memory, machine: Machine) -> bool:
    """Whether frozen weights of so many bytes are divided over processes; a single process keeps them whole."""
    if ranks.count() == 1:
        return False
    if machine.shard is not None:
        return machine.shard
    return not all(ranks.everyones(preflight.fit_whole(weights, device, read)))


def _probes(encoding: Encoding) -> tuple[Encoded, Encoded]:
    """The examples of median and of largest size."""
    ordered = sorted(encoding.examples, key=lambda example: example.size)
    return ordered[len(ordered) // 2], ordered[-1]


def _await_passes(
    scorer: Scorer, encoding: Encoding, steps: list[list[int]], pass_tokens: int, read: Memory, progress: Progress
) -> None:
    """Wait for the memory of the largest pass of the heaviest steps, at least that of the largest example."""
    probe, largest = _probes(encoding)
    by_weight = sorted(steps, key=lambda step: sum(encoding.examples[index].size for index in step))
    sizes = [scorer.size([largest])]
    for step in by_weight[-HEAVIEST_STEPS:]:
        batch = [encoding.examples[index] for index in step]
        for group in scorer.passes(batch, pass_tokens):
            examples = [batch[index] for index in group]
            sizes.append(scorer.size(examples))
    need = preflight.needed(scorer, probe, max(sizes))
    await_memory(need, f"the adapter and passes of {max(sizes):,} tokens", scorer.model.device, read, progress)


def _instruction_set() -> str:
    """Instruction sets of the CPU: of torch's own kernels, and of oneDNN, which multiplies bfloat16, or its limit."""
    can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    used = [torch.backends.cpu.get_cpu_capability()]
    # A limit set in the environment makes another kernel multiply, whatever the CPU can do.
    used += [limit] if limit else [name for name in ("avx512_bf16", "amx_bf16", "bf16") if can.get(name)]
    return " ".join(used)


def _chosen_for_memory(scorer: Scorer, read: Memory) -> dict[str, Json]:
    """Choices that rounding does not depend on, and the memory that they follow from."""
    return {
        "sharded": scorer.sharded,
        "activation_checkpoints": bool(adapters.checkpointed(scorer.model)),
        "installed_bytes": preflight.installed(scorer.model.device, read),
    }


def _chosen(scorer: Scorer, computed: Precision, pass_tokens: int) -> dict[str, Json]:
    """Everything beside the job that rounding depends on: the size of passes, the processor and how it computes."""
    cuda = computed.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if cuda else platform.machine(),
        "instruction_set": "" if cuda else _instruction_set(),
        "threads": torch.get_num_threads(),
        "processes": ranks.count(),
        "weights": str(computed.weights).removeprefix("torch."),
        "autocast": "bfloat16" if computed.autocast else "off",
        "layout": "rows" if scorer.attention is None else scorer.attention.__name__,
        "pass_tokens": pass_tokens,
    }
