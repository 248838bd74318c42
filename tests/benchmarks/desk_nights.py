"""Nights of simulated help desks kept on disk, so that every way to train starts from the same one.

A desk is served by its newest adapter, but for the one of the night after its policies changed, which no gate would
promote: users of the day before still wanted the old ones. A night is what its desk's users said until then and the
adapter that served the day.
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evals.worlds import helpdesk
from evals.worlds.helpdesk import Request, Traffic, Truth, World
from loop import settings as policies
from loop.cli.demo.play import BRIGADE_DAY, DRIFT_DAY, POLICY, SAMPLING
from loop.curation import curate
from loop.machine import Machine
from loop.models import LanguageModel, load
from loop.settings import CurationSettings, Settings
from loop.training import Job, candidate, train
from loop.types import Candidate, Example, Feedback, Interaction, Json, Split

RARELY = Machine(checkpoint_minutes=60.0)
"""No checkpoints: a training that is killed begins anew."""
BATCH = 100
"""Prompts answered together."""


@dataclass(frozen=True, slots=True)
class StoredNight:
    """What a night begins with."""

    seed: int
    day: int
    interactions: tuple[Interaction, ...]
    """Everything that was asked until then."""
    feedback: tuple[Feedback, ...]
    parent: Path | None
    """Folder of the adapter that served the day; None for the base model."""

    @property
    def name(self) -> str:
        return f"{self.seed}-{self.day}"

    @property
    def world(self) -> World:
        return world(self.seed)


def world(seed: int) -> World:
    """The demo's desk."""
    return World(seed=seed, drift_day=DRIFT_DAY, brigade_day=BRIGADE_DAY)


def demo_settings(changes: Mapping[str, Json]) -> Settings:
    """The demo's policy and `changes` to it; steps are bounded by examples alone."""
    return policies.load(overrides={**POLICY, **changes})


def nights(seed: int, days: int, base: Path, folder: Path, settings: Settings) -> Iterator[StoredNight]:
    """The nights of a desk, day by day; those below `folder` are read, the others made and kept there."""
    folder.mkdir(parents=True, exist_ok=True)
    parent = None
    interactions: tuple[Interaction, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    for day in range(1, days + 1):
        file = folder / f"{seed}-{day}.pickle"
        if file.exists():
            night: StoredNight = pickle.loads(file.read_bytes())  # noqa: S301 - written below
        else:
            traffic = _served(seed, day, parent, base)
            asked = (*interactions, *traffic.interactions)
            night = StoredNight(seed, day, asked, (*feedback, *traffic.feedback), parent)
            file.write_bytes(pickle.dumps(night))
        yield night
        interactions, feedback = night.interactions, night.feedback
        if day < days and day != DRIFT_DAY:
            parent = folder / f"{seed}-{day}-adapter"
            trained(night, base, parent, settings)


def _served(seed: int, day: int, adapter: Path | None, base: Path) -> Traffic:
    model = load(base, adapter=adapter, batch=BATCH)
    return helpdesk.exchange(world(seed), day, model, served=f"helpdesk@{day - 1}", sampling=SAMPLING)


def examples(night: StoredNight, settings: CurationSettings) -> tuple[Example, ...]:
    """The train examples that curation makes of a night's events."""
    made = curate(night.interactions, night.feedback, settings, helpdesk.midnight(night.day + 1)).examples
    return tuple(example for example in made if example.split is Split.TRAIN)


def trained(night: StoredNight, base: Path, folder: Path, settings: Settings) -> Candidate:
    """The candidate of a night, in `folder`."""
    job = Job(
        job_id=folder.name,
        snapshot_id=night.name,
        examples=examples(night, settings.curation),
        base=base,
        parent=night.parent,
        parent_version=night.day - 1,
        folder=folder,
        cache=folder / "cache",
        settings=settings.training,
        dtype=settings.model.dtype,
    )
    for _ in train(job, machine=RARELY):
        pass
    return candidate(job)


def truths(desk: World, model: LanguageModel, asked: Sequence[Request], day: int) -> list[tuple[bool, Truth]]:
    """Of each request, whether it is about what changes and how good the answer is by the policies of `day`."""
    drifting = helpdesk.drifting_intents(desk)
    answers = model.generate([request.messages for request in asked], replace(SAMPLING, seed=0))
    return [
        (request.intent.name in drifting, helpdesk.judge(desk, request, answer.text, day))
        for request, answer in zip(asked, answers, strict=True)
    ]
