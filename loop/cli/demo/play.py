"""The demo's days: serve, collect feedback, run the night, measure; then a wrong promotion and its rollback.

Only the help desk is simulated. Serving, capture, curation, training, gate, registry and rollback are the real ones.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path

import click

from evals.worlds import helpdesk
from evals.worlds.helpdesk import Request, Traffic, World
from loop import settings
from loop.app import App
from loop.cli.demo.story import HEADERS, Day, Measured, Mistake, Story, aligned, decided, row, undecided
from loop.cli.progress import ShownProgress
from loop.cli.session import Session
from loop.cli.template import render
from loop.curation import snapshot
from loop.errors import UsageError
from loop.files import write_text
from loop.hashing import adapter_sha256
from loop.home import DOWNLOADS
from loop.library import Loop
from loop.machine import Machine
from loop.models import LanguageModel, find
from loop.nights.nightly import run
from loop.nights.parts import Parts
from loop.types import Json, Night, Sampling, Split, Stage

MARK = ".nightshift-demo"
"""Name of a file in every folder that a demo made, which the next demo may clear."""
DRIFT_DAY = 3
# A day follows by default: an attack stops its own night, not those after it.
BRIGADE_DAY = 5
FRESH_USERS = 20
FINAL_USERS = 60
"""Fresh users of the last comparison; the frozen base answers them once and is judged by the policies of every day."""
# Answers end where POLICY ends those of an evaluation (max_new_tokens).
SAMPLING = Sampling(temperature=0.7, max_tokens=28)
POLICY: Mapping[str, Json] = {
    "curation.max_examples": 128,
    "curation.burst_factor": 2.0,
    "curation.dev_share": 0.02,
    "curation.vault_share": 0.33,
    "training.learning_rate": 1.4e-3,
    "training.epochs": 3.0,
    "training.max_tokens": 256,
    "training.edit.type": "demonstration",
    "evaluation.window_days": 2.0,
    "evaluation.max_items": 60,
    "evaluation.max_new_tokens": 28,
    "gate.margin": 0.1,
    "gate.guards_from": 30,
}
"""Settings that differ from the defaults: a desk with a hundred requests a day, trained in about a minute on two cores.

What was said on the two days before is shown again with the day's own feedback, and few examples are shown often: both
teach more than other ways to spend the same steps (tests/benchmarks/README.md).

A guard with fewer than 30 users could not tell a loss of its margin from none: their differences spread by about .22,
and ((1.645 + .84) x .22 / .1)^2 = 30.
"""
MACHINE = Machine(batch_prompts=128, max_pairs=2)
"""Answers of 28 tokens to short prompts: all of a suite are drawn together, and pairs would take as long as a suite."""


@dataclass(frozen=True)
class Desk:
    """A simulated help desk and the loop that serves it."""

    loop: Loop
    world: World
    shown: ShownProgress = field(default_factory=ShownProgress)
    as_json: bool = False
    """Whether standard output gets only one JSON object, at the end."""
    loaded: dict[int, LanguageModel] = field(default_factory=dict)
    """The model of the version that answered last, by the version's number."""

    @cached_property
    def parts(self) -> Parts:
        """The parts that a night of this desk works with."""
        return replace(self.loop.app.parts, progress=self.progress)

    def say(self, text: str) -> None:
        """Print `text`, on standard error where standard output is for the JSON."""
        click.echo(text, err=self.as_json)

    def progress(self, stage: str, done: int, of: int, note: str) -> None:
        """See loop.ports.Progress; tells a night's decision as soon as it is recorded, before it has its effect."""
        # The night has stored its decision by then, and the promotion has had no effect yet.
        if stage == Stage.PROMOTE and done < of:
            nights = self.loop.nights()
            if decision_id := nights[-1].outputs.decision_id:
                self.say(decided(len(nights), self.loop.app.store.decision(decision_id)))
        self.shown(stage, done, of, note)

    def serve(self, number: int) -> Traffic:
        """One day: the champion answers, users react, and all of it goes to the event log."""
        served = self.loop.champion()
        name = f"{self.loop.app.settings.model.name}@{served}"
        with self._working("serve", f"the day's users ask {name}"):
            traffic = helpdesk.exchange(self.world, number, self._model(served), served=name, sampling=SAMPLING)
            self.loop.append(chain(traffic.interactions, traffic.feedback))
        return traffic

    def measure(self, requests: Sequence[Request], version: int) -> Measured:
        """A version's answers to users that the loop never sees, judged by the world's own truth."""
        return self.judge(requests, self.answers(requests, version), requests[0].day)

    def answers(self, requests: Sequence[Request], version: int) -> tuple[str, ...]:
        """Answers of a version to `requests`, in their order."""
        name = f"{self.loop.app.settings.model.name}@{version}" if version else "the frozen base"
        with self._working("measure", f"{len(requests)} fresh users ask {name}"):
            # A fixed seed: a version gives the same answers whenever it is asked.
            drawn = self._model(version).generate([request.messages for request in requests], replace(SAMPLING, seed=0))
        return tuple(generation.text for generation in drawn)

    def judge(self, requests: Sequence[Request], answers: tuple[str, ...], day: int) -> Measured:
        """The truth about answers, as if they had been given on `day`."""
        truths = [
            helpdesk.judge(self.world, asked, answer, day) for asked, answer in zip(requests, answers, strict=True)
        ]
        return Measured(
            satisfied=tuple(truth.satisfied for truth in truths),
            harmful=tuple(truth.harmful for truth in truths),
            answers=answers,
        )

    @contextmanager
    def _working(self, stage: str, note: str) -> Iterator[None]:
        self.shown(stage, 0, 1, note)
        try:
            yield
        finally:
            # Work that was cut short has ended too, or its line would go on being drawn.
            self.shown(stage, 1, 1, "ended")

    def _model(self, version: int) -> LanguageModel:
        if version not in self.loaded:
            # Let go first, so that there are never two models in memory.
            self.loaded.clear()
            self.loaded[version] = self.loop.model(version)
        return self.loaded[version]


def play(outer: Session, seed: int, days: int, folder: Path) -> Story:
    """Simulate `days` days in a new project folder; tells what happens, each decision as it falls, a row a day."""
    started = time.monotonic()
    world = World(seed=seed, drift_day=DRIFT_DAY, brigade_day=BRIGADE_DAY)
    # Absolute, because the demo's commands run in the demo's folder.
    base = find(outer.app.settings.model.base, *outer.app.settings.addresses.models).absolute()
    desk = Desk(project(folder, str(base)), world, as_json=outer.as_json)
    last = helpdesk.fresh(world, days + 1, FINAL_USERS)
    desk.say(f"A help desk learns from its users for {days} days and nights, seed {seed}.\n\n{aligned(HEADERS)}")
    # Once for all days: the frozen base never changes, only the policies its answers are judged by.
    frozen = desk.answers(last, 0)
    days_played = []
    for number in range(1, days + 1):
        desk.shown.title = f"day {number}/{days}"
        for event in _events(world, number):
            desk.say(f"day {number}: {event}")
        days_played.append(_day(desk, number, desk.judge(last, frozen, number)))
        desk.say(aligned(row(days_played[-1])))
    desk.shown.title = ""
    mistake = _mistake(desk, days + 1, folder)
    return Story(
        seed=seed,
        folder=folder,
        days=tuple(days_played),
        mistake=mistake,
        events={DRIFT_DAY: "policies change", BRIGADE_DAY: "hostile accounts"},
        requests=last,
        drifted=helpdesk.drifting_intents(world),
        final=desk.measure(last, desk.loop.champion()),
        base=desk.judge(last, frozen, days + 1),
        seconds=time.monotonic() - started,
    )


def _events(world: World, day: int) -> Iterator[str]:
    """Sentences on what happens to the desk in the morning of a day."""
    if day == world.drift_day:
        yield f"the shop has other policies for {' and '.join(helpdesk.drifting_intents(world))}"
    if day == world.brigade_day:
        yield f"{world.brigade_accounts} hostile accounts come, to teach it harm"


def project(folder: Path, base: str, policy: Mapping[str, Json] = POLICY) -> Loop:
    """A loop in a new project folder, where the command works on the demo's data afterwards."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UsageError(f"{folder} holds something that no demo made", "name an absent or empty --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    file = folder / settings.SETTINGS_FILE
    write_text(file, render(settings.load(overrides={"model.base": base, "model.name": "helpdesk", **policy})))
    # Without the environment's addresses: the demo must not write into the databases of a real loop.
    own = replace(settings.load(file), addresses=settings.Addresses(home=folder / ".nightshift"))
    return Loop(App(own, machine=MACHINE))


def _day(desk: Desk, number: int, base: Measured) -> Day:
    started = time.monotonic()
    parts = desk.parts
    served = desk.loop.champion()
    traffic = desk.serve(number)
    served_at = time.monotonic()
    night = run(parts, as_of=helpdesk.midnight(number + 1))
    ran_at = time.monotonic()
    champion = desk.loop.champion()
    decision_id = night.outputs.decision_id
    if decision_id is None:
        desk.say(undecided(number, night))
    return Day(
        number=number,
        served=served,
        feedback=traffic.feedback,
        night=night,
        decision=parts.store.decision(decision_id) if decision_id else None,
        learnt=_learnt(parts, night),
        champion=champion,
        fresh=desk.measure(helpdesk.fresh(desk.world, number, FRESH_USERS), champion),
        base=base,
        seconds={"serving": served_at - started, "night": ran_at - served_at},
    )


def _learnt(parts: Parts, night: Night) -> Mapping[str, int]:
    """Number of train examples in the night's snapshot, by the kind of feedback they came from."""
    # A night that was skipped may have a snapshot, but nothing was learnt from it.
    if night.outputs.candidate_id is None or night.outputs.snapshot_id is None:
        return {}
    examples = snapshot.read(parts.home, night.outputs.snapshot_id, Split.TRAIN)
    return Counter(example.signal for example in examples)


def _mistake(desk: Desk, day: int, folder: Path) -> Mistake:
    """The first version that does not serve is promoted by hand, measured with fresh users, and rolled back."""
    loop = desk.loop
    champion = desk.loop.champion()
    others = [each.version for each in loop.app.registry.versions() if each.version != champion]
    if not others:
        raise UsageError("no night made a second version that could be promoted by mistake", "play more --days")
    wrong = others[0]
    before = _bytes(loop, champion)
    _command(desk, folder, "promote", str(wrong), "--force", "--reason", "the wrong number, typed at 3 a.m.")
    asked = helpdesk.fresh(desk.world, day, FRESH_USERS)
    measured = desk.measure(asked, desk.loop.champion())
    began = time.monotonic()
    _command(desk, folder, "rollback", "--reason", "users complain")
    seconds = time.monotonic() - began
    # Without the fetched copies, so that the bytes compared are those that the registry gives again.
    shutil.rmtree(loop.app.home / DOWNLOADS)
    restored = _bytes(loop, loop.champion())
    return Mistake(wrong=wrong, champion=champion, measured=measured, restored=restored == before, seconds=seconds)


def _bytes(loop: Loop, version: int) -> str | None:
    """sha256 of the bytes of a version's adapter as the registry gives it; None for the base model."""
    return adapter_sha256(loop.app.registry.fetch(version)) if version else None


def _command(desk: Desk, folder: Path, *arguments: str) -> None:
    """Run the real command, as the person on call types it, and show what it prints."""
    desk.say(f"$ nightshift {shlex.join(arguments)}")
    command = [sys.executable, "-m", "loop.cli"]
    command += arguments
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=folder, env=of_the_demo(os.environ), check=True, stdout=subprocess.PIPE, text=True
    )
    desk.say(done.stdout.rstrip())


def of_the_demo(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the addresses of anybody's services: the demo's mistake is made on the demo's ledger."""
    return settings.without_addresses(environment) | {"NIGHTSHIFT_HOME": ".nightshift"}
