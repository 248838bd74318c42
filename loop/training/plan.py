"""Plan of a training: every decision before the first step, from the job and the machine, unchanged after it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from peft import PeftModel

from loop.hashing import adapter_sha256, digest
from loop.machine import Machine
from loop.memory import Memory
from loop.models import fingerprint
from loop.ports import Progress
from loop.settings import hashed_training
from loop.settings.constants import WEIGHT_DECAY
from loop.training import choices, preflight, ranks
from loop.training.batch.schedule import Schedule, schedule
from loop.training.batch.tokens import Encoding, encoded
from loop.training.forward.choice import choose_layout
from loop.training.forward.logps import Scorer
from loop.training.forward.spans import spans
from loop.training.job import Job
from loop.training.objective.reference import Reference
from loop.training.weights import adapters, precision
from loop.training.weights.average import Average
from loop.training.weights.loading import load_model
from loop.types import Json


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
    schedule: Schedule
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
    encoding = encoded(job)
    examples, (probe, largest) = encoding.examples, encoding.probes
    model, sharded = load_model(job, computed, read, progress, machine)
    began_as = adapters.weights_sha256(model)
    scorer = Scorer(model.get_base_model(), computed.autocast, spans if machine.tree else None, sharded)
    preflight.make_room(replace(scorer, attention=None), probe, largest, machine, read, progress)
    # Tried only now: a layout is tried by a pass over the longest example.
    scorer = choose_layout(scorer, examples)
    steps = schedule(examples, settings)
    # The smallest of all processes: each cuts the whole batch, so all have to cut it alike.
    pass_tokens = min(ranks.everyones(preflight.budget(scorer, probe, largest, read, machine.pass_tokens)))
    preflight.await_passes(scorer, encoding, steps.batches, pass_tokens, read, progress)
    chosen = choices.for_rounding(scorer, computed, pass_tokens)
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
        machine=chosen | choices.for_memory(scorer, read),
        reference=Reference(model, scorer, reference),
        schedule=steps,
        pass_tokens=pass_tokens,
        began_as=began_as,
    )
