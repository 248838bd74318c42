"""Stage 4: a snapshot and the parent version become a candidate."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from loop import candidates, promotion
from loop.curation import snapshot
from loop.hashing import digest
from loop.home import REFERENCE, STEPS, job_folder, snapshot_folder
from loop.models import fingerprint, importing
from loop.nights.parts import Parts
from loop.nights.versions import adapter_folder, base_folder
from loop.settings import hashed_training, policy
from loop.types import Candidate, Split

if TYPE_CHECKING:
    from loop import training


def train_candidate(parts: Parts, snapshot_id: str, parent: int, night_id: str = "") -> Candidate:
    """Train `parent` (0: the base model) on a snapshot's train split; goes on where a killed training stopped.

    A finished job gives its candidate again; where the candidate's files are gone it is trained anew. Raises SuiteError
    before anything is trained when the settings name a suite that cannot judge the candidate.
    """
    parts.store.snapshot(snapshot_id)  # a wrong id is told before the seconds that torch takes to import
    _require_suites(parts)
    with importing():
        from loop import training

    job = _job(parts, snapshot_id, parent)
    if training.finished(job.folder):
        candidates.forget_lost(parts.home, job.job_id, training.candidate(job))
    with parts.registry.run(job.job_id, night_id=night_id) as run:
        run.log_settings(policy(parts.settings))
        run.log_snapshot(parts.store.snapshot(snapshot_id), snapshot_folder(parts.home, snapshot_id))
        parts.progress("train", 0, 1, "begins")
        for step in training.train(job, parts.memory, parts.progress, parts.machine):
            run.log_metrics(step.metrics, step.step)
            _append_line(job.folder / STEPS, {"step": step.step, **step.metrics})
            note = f"loss {step.metrics['loss']:.3f}"
            parts.progress("train", step.step, step.of, note)
        parts.progress("train", 1, 1, "ended")
        candidate = training.candidate(job)
        # Delivered before the store has it: every candidate in the store has its files.
        candidates.deliver(parts.home, candidate)
        ended = {f"ended/{name}": value for name, value in candidate.metrics.items()}
        run.log_metrics(ended, int(candidate.metrics["steps"]))
    parts.store.save_candidate(candidate)
    return candidate


def _require_suites(parts: Parts) -> None:
    """Raises SuiteError for a suite that could not judge what hours of training make."""
    if parts.settings.suites:
        from evals.suites.own import own_suites

        own_suites(parts.settings)


def job_id(parts: Parts, snapshot_id: str, parent: int) -> str:
    """Id of a training's inputs: equal inputs are one job, whatever bytes it ends with."""
    made_from = {
        "snapshot": snapshot_id,
        "parent": promotion.adapter_of(parts.registry, parent),  # its bytes: a number says nothing of them
        "base": fingerprint(base_folder(parts.settings)),
        "training": hashed_training(parts.settings.training),
        "dtype": parts.settings.model.dtype,
    }
    return digest(made_from)[:16]


def _job(parts: Parts, snapshot_id: str, parent: int) -> "training.Job":
    from loop import training

    made_from = job_id(parts, snapshot_id, parent)
    return training.Job(
        job_id=made_from,
        snapshot_id=snapshot_id,
        examples=snapshot.read(parts.home, snapshot_id, Split.TRAIN),
        base=base_folder(parts.settings),
        parent=adapter_folder(parts.settings, parts.registry, parts.ledger.entries(), parent),
        parent_version=parent,
        folder=job_folder(parts.home, made_from),
        cache=parts.home / REFERENCE,
        settings=parts.settings.training,
        dtype=parts.settings.model.dtype,
    )


def _append_line(path: Path, values: Mapping[str, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(values) + "\n")
