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
from pathlib import Path

import click

from evals.worlds import helpdesk
from evals.worlds.helpdesk import Request, Traffic, World
from loop import settings, snapshot, steps
from loop.cli.progress import ShownProgress
from loop.cli.session import Session
from loop.cli.story import HEADERS, Day, Measured, Mistake, Story, aligned, decided, row, undecided
from loop.cli.template import render
from loop.errors import UsageError
from loop.events import encode
from loop.hashing import adapter_sha256
from loop.models import LanguageModel, find
from loop.nightly import run
from loop.types import Json, Night, Sampling, Split, Stage

MARK = ".nightshift-demo"
"""A file in every folder that a demo made and the next one may clear."""
DRIFT_DAY = 3
BRIGADE_DAY = 5
FRESH_USERS = 20
FINAL_USERS = 60
"""Fresh users of the last comparison; the frozen base answers them once and is judged by the policies of every day."""
SAMPLING = Sampling(temperature=0.7, max_tokens=28)
POLICY: Mapping[str, Json] = {
    "curation.max_examples": 128,
    "curation.burst_factor": 2.0,
    "curation.dev_share": 0.02,
    "curation.vault_share": 0.33,
    "validation.max_undesirable_share": 1.0,
    "training.learning_rate": 1.4e-3,
    "training.epochs": 3.0,
    "training.edits": "demonstration",
    "training.max_tokens": 256,
    "evaluation.window_days": 2.0,
    "evaluation.max_items": 60,
    "evaluation.max_pairs": 2,
    "evaluation.max_new_tokens": 28,
    "evaluation.batch_prompts": 128,
    "gate.margin": 0.1,
    "gate.guards_from": 30,
}
"""What differs from the defaults: a desk with a hundred requests a day, trained in about a minute on two cores.

What was said on the two days before is shown again with the day's own, and few examples often: both teach more than
other ways to spend the same steps (tests/benchmarks/README.md).

In the first nights nobody approves of anything, so the share of undesirable answers is no reason to stop. A guard with
fewer than 30 users could not tell a loss of its margin from none: their differences spread by about .22, and
((1.645 + .84) x .22 / .1)^2 = 30.
"""


@dataclass(frozen=True)
class Desk:
    """A simulated help desk and the loop that serves it."""

    session: Session
    world: World
    shown: ShownProgress = field(default_factory=ShownProgress)
    loaded: dict[int, LanguageModel] = field(default_factory=dict)
    """The version that answered last, by its number."""

    @cached_property
    def parts(self) -> steps.Parts:
        """What a night of this desk works with."""
        return replace(self.session.parts, progress=self.progress)

    def say(self, text: str) -> None:
        """Print it; not among the JSON, where that is asked for."""
        click.echo(text, err=self.session.as_json)

    def progress(self, stage: str, done: int, of: int, note: str) -> None:
        """See loop.ports.Progress; tells a night's decision as soon as it is recorded, before it has its effect."""
        if stage == Stage.PROMOTE and done < of:
            night = self.session.store.nights()[-1]
            self.say(
                decided(len(self.session.store.nights()), self.session.store.decision(night.outputs[Stage.DECIDE]))
            )
        self.shown(stage, done, of, note)

    def serve(self, number: int) -> Traffic:
        """One day: the champion answers, users react, and all of it goes to the event log."""
        served = steps.serving_version(self.parts)
        name = f"{self.session.settings.model.name}@{served}"
        with self._working("serve", f"the day's users ask {name}"):
            traffic = helpdesk.exchange(self.world, number, self._model(served), served=name, sampling=SAMPLING)
            self.session.log.append([*map(encode, traffic.interactions), *map(encode, traffic.feedback)])
        return traffic

    def measure(self, requests: Sequence[Request], version: int) -> Measured:
        """What a version answers to users the loop never sees, judged by the world's own truth."""
        return self.judge(requests, self.answers(requests, version), requests[0].day)

    def answers(self, requests: Sequence[Request], version: int) -> tuple[str, ...]:
        """What a version says."""
        name = f"{self.session.settings.model.name}@{version}" if version else "the frozen base"
        with self._working("measure", f"{len(requests)} fresh users ask {name}"):
            drawn = self._model(version).generate([request.messages for request in requests], replace(SAMPLING, seed=0))
        return tuple(generation.text for generation in drawn)

    def judge(self, requests: Sequence[Request], answers: tuple[str, ...], day: int) -> Measured:
        """The truth about answers, had they been given on `day`."""
        truths = [helpdesk.judge(self.world, asked, told, day) for asked, told in zip(requests, answers, strict=True)]
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
            self.shown(stage, 1, 1, "ended")

    def _model(self, version: int) -> LanguageModel:
        if version not in self.loaded:
            self.loaded.clear()
            entries = self.session.ledger.entries()
            self.loaded[version] = steps.load_version(self.session.settings, self.session.registry, entries, version)
        return self.loaded[version]


def play(outer: Session, seed: int, days: int, folder: Path) -> Story:
    """Simulate `days` days in a new project folder; tells what happens, each decision as it falls, a row a day."""
    started = time.monotonic()
    world = World(seed=seed, drift_day=DRIFT_DAY, brigade_day=BRIGADE_DAY)
    base = find(outer.settings.model.base, *outer.settings.addresses.models).absolute()
    desk = Desk(replace(project(folder, str(base)), as_json=outer.as_json), world)
    last = helpdesk.fresh(world, days + 1, FINAL_USERS)
    desk.say(f"A help desk learns from its users for {days} days and nights, seed {seed}.\n\n{aligned(HEADERS)}")
    frozen = desk.answers(last, 0)
    told = []
    for number in range(1, days + 1):
        desk.shown.title = f"day {number}/{days}"
        for event in _events(world, number):
            desk.say(f"day {number}: {event}")
        told.append(_day(desk, number, desk.judge(last, frozen, number)))
        desk.say(aligned(row(told[-1])))
    desk.shown.title = ""
    mistake = _mistake(desk, days + 1, folder)
    return Story(
        seed=seed,
        folder=folder,
        days=tuple(told),
        mistake=mistake,
        events={DRIFT_DAY: "policies change", BRIGADE_DAY: "hostile accounts"},
        requests=last,
        drifted=helpdesk.drifting_intents(world),
        final=desk.measure(last, steps.serving_version(desk.parts)),
        base=desk.judge(last, frozen, days + 1),
        seconds=time.monotonic() - started,
    )


def _events(world: World, day: int) -> Iterator[str]:
    """What befalls the desk in the morning."""
    if day == world.drift_day:
        yield f"the shop has other policies for {' and '.join(helpdesk.drifting_intents(world))}"
    if day == world.brigade_day:
        yield f"{world.brigade_accounts} hostile accounts come, to teach it harm"


def project(folder: Path, base: str, policy: Mapping[str, Json] = POLICY) -> Session:
    """A session in a new project folder, where the command works on the demo's data afterwards."""
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise UsageError(f"{folder} holds something that no demo made", "name an absent or empty --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    file = folder / settings.SETTINGS_FILE
    file.write_text(render(settings.load(overrides={"model.base": base, "model.name": "helpdesk", **policy})))
    return Session(replace(settings.load(file), addresses=settings.Addresses(home=folder / ".nightshift")))


def _day(desk: Desk, number: int, base: Measured) -> Day:
    started = time.monotonic()
    parts = desk.parts
    served = steps.serving_version(parts)
    traffic = desk.serve(number)
    served_at = time.monotonic()
    night = run(parts, as_of=helpdesk.midnight(number + 1))
    ran_at = time.monotonic()
    champion = steps.serving_version(parts)
    decision_id = night.outputs.get(Stage.DECIDE)
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


def _learnt(parts: steps.Parts, night: Night) -> Mapping[str, int]:
    """Train examples of the night's snapshot by the kind of feedback they came from."""
    if Stage.TRAIN not in night.outputs:
        return {}
    examples = snapshot.read(parts.home, night.outputs[Stage.CURATE], Split.TRAIN)
    return Counter(example.signal for example in examples)


def _mistake(desk: Desk, day: int, folder: Path) -> Mistake:
    """Somebody promotes the first version that does not serve; users suffer; the command rolls it back."""
    session = desk.session
    champion = steps.serving_version(desk.parts)
    others = [each.version for each in session.registry.versions() if each.version != champion]
    if not others:
        raise UsageError("no night made a second version that could be promoted by mistake", "play more --days")
    wrong = others[0]
    before = _bytes(session, champion)
    _command(desk, folder, "promote", str(wrong), "--force", "--reason", "the wrong number, typed at 3 a.m.")
    asked = helpdesk.fresh(desk.world, day, FRESH_USERS)
    measured = desk.measure(asked, steps.serving_version(desk.parts))
    began = time.monotonic()
    _command(desk, folder, "rollback", "--reason", "users complain")
    seconds = time.monotonic() - began
    shutil.rmtree(session.home / "versions")
    restored = _bytes(session, steps.serving_version(desk.parts))
    return Mistake(wrong=wrong, champion=champion, measured=measured, restored=restored == before, seconds=seconds)


def _bytes(session: Session, version: int) -> str | None:
    """sha256 of a version's adapter as it is on disk now; None for the base model."""
    return adapter_sha256(session.registry.fetch(version)) if version else None


def _command(desk: Desk, folder: Path, *arguments: str) -> None:
    """The real command, as the person on call types it; what it prints is shown."""
    desk.say(f"$ nightshift {shlex.join(arguments)}")
    command = [sys.executable, "-m", "loop.cli", *arguments]
    done = subprocess.run(  # noqa: S603 - our own command
        command, cwd=folder, env=of_the_demo(os.environ), check=True, stdout=subprocess.PIPE, text=True
    )
    desk.say(done.stdout.rstrip())


def of_the_demo(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the addresses of anybody's services: the demo's mistake is made on the demo's ledger."""
    return settings.without_addresses(environment) | {"NIGHTSHIFT_HOME": ".nightshift"}
