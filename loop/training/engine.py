"""Training from end to end: a job's examples and the champion's adapter in, steps out, a candidate on disk."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from math import fsum, inf, isfinite

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoTokenizer

from loop.canonical import digest
from loop.errors import TrainingError
from loop.hashing import adapter_sha256
from loop.models import fingerprint
from loop.training import adapters, checkpoint, manifest, objective, precision
from loop.training.checkpoint import State
from loop.training.job import Job, Step
from loop.training.logps import Scored, Scorer, choose_layout, score
from loop.training.reference import Reference
from loop.training.schedule import batches, micro_batches, progress, rate
from loop.training.tokens import Encoded, Encoding, encode
from loop.types import Candidate

LARGEST_SKIPPED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """All that stays the same while a job trains."""

    job: Job
    key: str
    """Identity of the job, by which a checkpoint is known to be its own."""
    model: PeftModel
    scorer: Scorer
    optimizer: torch.optim.Optimizer
    encoding: Encoding
    reference: Reference
    batches: list[list[int]]
    began_as: str
    """sha256 of the adapter's weights before step 0."""


def train(job: Job) -> Iterator[Step]:
    """Train `job` into `job.folder`, one value after each optimiser step.

    Started again after a kill it goes on at the last checkpoint and ends with the same bytes; a finished folder yields
    nothing. A step that would outlast the wall-clock budget, going by those before it, is not begun, save the first.
    Raises TrainingError when nothing can be trained on, too many steps diverge or the adapter did not change.
    """
    if manifest.exists(job.folder):
        return
    plan = _plan(job)
    state = checkpoint.resume(job.folder, plan.key, plan.model, plan.optimizer)
    first, before, started = state.step, state.seconds, time.monotonic()
    saved, each = started, 0.0
    while state.step < len(plan.batches) and _seconds_left(job, state) > each:
        state = _step(plan, state)
        now = time.monotonic()
        state = replace(state, seconds=before + now - started)
        if now - saved >= 60 * job.settings.checkpoint_minutes:
            plan.reference.save()
            checkpoint.save(job.folder, plan.key, state, plan.model, plan.optimizer)
            saved = time.monotonic()
        each = (now - started) / (state.step - first)
        eta = min(each * (len(plan.batches) - state.step), _seconds_left(job, state))
        yield Step(state.step, len(plan.batches), state.seconds, eta, state.history[-1])
    _finish(plan, state)


def candidate(job: Job) -> Candidate:
    """The candidate that `job` became. Raises NotFoundError when its training has not finished."""
    return manifest.read(job.folder)


def _plan(job: Job) -> Plan:
    settings = job.settings
    computed = precision.choose(settings, job.dtype)
    encoding = encode(job.examples, AutoTokenizer.from_pretrained(job.base), settings)
    if not encoding.examples:
        raise TrainingError(
            f"none of {len(job.examples)} examples can be trained on",
            "raise `max_tokens` under [training], or look into the snapshot for empty answers",
        )
    model = adapters.load(
        job.base, job.parent, rank=settings.rank, seed=settings.seed, dtype=computed.weights, device=computed.device
    )
    scorer = choose_layout(Scorer(model.get_base_model(), autocast=computed.autocast), encoding.examples)
    parent = adapter_sha256(job.parent) if job.parent else None
    reference = digest([fingerprint(job.base), parent, str(computed.weights), computed.autocast])
    return Plan(
        job=job,
        key=digest([reference, asdict(settings), [example.example_id for example in job.examples]]),
        model=model,
        scorer=scorer,
        optimizer=torch.optim.AdamW(adapters.trainable(model).values(), weight_decay=settings.weight_decay, fused=True),
        encoding=encoding,
        reference=Reference(model, scorer, job.cache / f"{reference[:16]}.json", settings.micro_batch_tokens),
        batches=batches(len(encoding.examples), settings.epochs, settings.batch_examples, settings.seed),
        began_as=adapters.weights_sha256(model),
    )


def _step(plan: Plan, state: State) -> State:
    """One optimiser step, left out where loss or gradient is not finite."""
    started = time.monotonic()
    settings = plan.job.settings
    share = progress(state.step, len(plan.batches), state.seconds, 60 * settings.budget_minutes)
    learning_rate = rate(share, settings)
    for group in plan.optimizer.param_groups:
        group["lr"] = learning_rate
    examples, scored, reference = _backward(plan, state)
    norm = float(torch.nn.utils.clip_grad_norm_(adapters.trainable(plan.model).values(), settings.max_grad_norm))
    batch = objective.gather(examples, reference.device)
    parts = objective.example_losses(batch, scored, reference, state.delta, settings)
    if state.step == 0:
        objective.check_first(batch, parts)
    metrics = objective.measure(batch, scored, reference, parts, settings.beta)
    finite = isfinite(norm) and isfinite(metrics["loss"])
    if finite:
        plan.optimizer.step()
    plan.optimizer.zero_grad()
    seconds = time.monotonic() - started
    metrics |= {
        "grad_norm": norm,
        "learning_rate": learning_rate,
        "tokens_per_second": sum(example.size for example in examples) / seconds,
    }
    state = replace(state, step=state.step + 1, history=(*state.history, metrics))
    if finite:
        return replace(state, delta=objective.next_delta(batch, scored, reference, state.delta, settings.beta))
    return _skipped(state, len(plan.batches))


def _backward(plan: Plan, state: State) -> tuple[list[Encoded], Scored, Tensor]:
    """Accumulate the gradient of one optimiser batch; its examples as they were computed, scores and references."""
    settings = plan.job.settings
    examples = [plan.encoding.examples[index] for index in plan.batches[state.step]]
    total = fsum(example.weight for example in examples)
    references = plan.reference.logps(examples)
    order, logps, nlls, compared = [], [], [], []
    for group in micro_batches([example.size for example in examples], settings.micro_batch_tokens):
        part = [examples[i] for i in group]
        scored = score(plan.scorer, part)
        reference = scored.logp.new_tensor([value for i in group for value in references[i]])
        batch = objective.gather(part, reference.device)
        parts = objective.example_losses(batch, scored, reference, state.delta, settings)
        torch.autograd.backward(objective.weighted_sum(parts, batch) / total)
        order += part
        logps.append(scored.logp.detach())
        nlls.append(scored.nll.detach())
        compared.append(reference)
    return order, Scored(torch.cat(logps), torch.cat(nlls)), torch.cat(compared)


def _skipped(state: State, steps: int) -> State:
    state = replace(state, skipped=state.skipped + 1)
    if state.skipped > LARGEST_SKIPPED_SHARE * steps:
        raise TrainingError(
            f"loss or gradient was not finite in {state.skipped} of {state.step} steps",
            "lower `learning_rate` under [training], or set `autocast` to `off`",
        )
    return state


def _seconds_left(job: Job, state: State) -> float:
    """Of the wall-clock budget; infinite without one."""
    budget = 60 * job.settings.budget_minutes
    return max(0.0, budget - state.seconds) if budget else inf


def _finish(plan: Plan, state: State) -> None:
    job = plan.job
    if adapters.weights_sha256(plan.model) == plan.began_as:
        raise TrainingError(
            f"the adapter did not change in {state.step} steps: this run learnt nothing",
            "raise `learning_rate` or `budget_minutes` under [training]",
        )
    plan.reference.save()
    adapters.save(plan.model, job.folder)
    made = Candidate(
        candidate_id=job.candidate_id,
        snapshot_id=job.snapshot_id,
        parent_version=job.parent_version,
        adapter_sha256=adapter_sha256(job.folder),
        parent_sha256=adapter_sha256(job.parent) if job.parent else None,
        base_fingerprint=fingerprint(job.base),
        settings={**asdict(job.settings), "dtype": job.dtype},
        metrics=manifest.last_quarter(state.history) | _totals(plan, state),
    )
    manifest.write(job.folder, made)
    checkpoint.discard(job.folder)


def _totals(plan: Plan, state: State) -> dict[str, float]:
    return {
        "steps": state.step,
        "seconds": state.seconds,
        "skipped": state.skipped,
        "examples": len(plan.encoding.examples),
        "dropped": plan.encoding.dropped,
        "truncated": plan.encoding.truncated,
        "budget_hit": float(state.step < len(plan.batches)),
    }
