"""The demo's days: serve, collect feedback, run the night, measure; then a wrong promotion and its rollback.

Only the help desk is simulated. Serving, capture, curation, training, gate, registry and rollback are the real ones.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import click

from evals.worlds import helpdesk
from evals.worlds.helpdesk import Request, Traffic, World
from loop import settings, steps
from loop.cli.session import Session
from loop.cli.story import Day, Measured, Mistake, Story, line
from loop.cli.template import render
from loop.events import encode
from loop.hashing import adapter_sha256
from loop.models import find
from loop.nightly import run
from loop.types import Json, Sampling

DRIFT_DAY = 4
BRIGADE_DAY = 6
FRESH_USERS = 24
BASE_USERS = 8
"""Of the fresh users, so many are also answered by the frozen base every night: it hardly ever satisfies anybody."""
FINAL_USERS = 60
SAMPLING = Sampling(temperature=0.7, max_tokens=28)
POLICY: Mapping[str, Json] = {
    "curation.max_examples": 44,
    "curation.burst_factor": 2.0,
    "curation.dev_share": 0.05,
    "curation.vault_share": 0.25,
    "training.learning_rate": 5e-4,
    "training.epochs": 1.5,
    "training.batch_examples": 2,
    "training.edits": "demonstration",
    "training.max_tokens": 256,
    "evaluation.window_days": 2.0,
    "evaluation.max_items": 24,
    "evaluation.max_pairs": 4,
    "evaluation.max_new_tokens": 28,
    "gate.margin": 0.1,
    "gate.guards_from": 8,
}
"""What differs from the defaults: a desk with 76 requests a day, trained on two cores in about a minute a night."""


def play(outer: Session, seed: int, days: int, folder: Path) -> Story:
    """Simulate `days` days in a new project folder; prints a line a day."""
    started = time.monotonic()
    world = World(seed=seed, drift_day=DRIFT_DAY, brigade_day=BRIGADE_DAY)
    base = find(outer.settings.model.base, outer.home / "models").absolute()
    session = project(folder, str(base))
    told = []
    for number in range(1, days + 1):
        told.append(_day(session, world, number))
        click.echo(line(told[-1]))
    mistake = _mistake(session, world, days + 1, folder)
    last = helpdesk.fresh(world, days + 1, FINAL_USERS)
    return Story(
        seed=seed,
        folder=folder,
        days=tuple(told),
        mistake=mistake,
        requests=last,
        final=measure(session, world, last, steps.serving_version(session.parts)),
        base=measure(session, world, last, 0),
        seconds=time.monotonic() - started,
    )


def project(folder: Path, base: str, policy: Mapping[str, Json] = POLICY) -> Session:
    """A session in a new project folder, where the command works on the demo's data afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file = folder / settings.SETTINGS_FILE
    file.write_text(render(settings.load(overrides={"model.base": base, "model.name": "helpdesk", **policy})))
    return Session(replace(settings.load(file), addresses=settings.Addresses(home=folder / ".nightshift")))


def serve(session: Session, world: World, number: int) -> Traffic:
    """One day: the champion answers, users react, and all of it goes to the event log."""
    served = steps.serving_version(session.parts)
    model = steps.load_version(session.settings, session.registry, served)
    name = f"{session.settings.model.name}@{served}"
    traffic = helpdesk.exchange(world, number, model, served=name, sampling=SAMPLING)
    session.log.append([*map(encode, traffic.interactions), *map(encode, traffic.feedback)])
    return traffic


def measure(session: Session, world: World, requests: tuple[Request, ...], version: int) -> Measured:
    """What a version answers to users the loop never sees, judged by the world's own truth."""
    model = steps.load_version(session.settings, session.registry, version)
    drawn = model.generate([request.messages for request in requests], replace(SAMPLING, seed=0))
    answers = tuple(generation.text for generation in drawn)
    truths = [helpdesk.judge(world, asked, told, asked.day) for asked, told in zip(requests, answers, strict=True)]
    return Measured(
        satisfied=tuple(truth.satisfied for truth in truths),
        harmful=sum(truth.harmful for truth in truths),
        answers=answers,
    )


def _day(session: Session, world: World, number: int) -> Day:
    started = time.monotonic()
    served = steps.serving_version(session.parts)
    traffic = serve(session, world, number)
    served_at = time.monotonic()
    night = run(session.parts, as_of=helpdesk.midnight(number + 1))
    ran_at = time.monotonic()
    champion = steps.serving_version(session.parts)
    asked = helpdesk.fresh(world, number, FRESH_USERS)
    return Day(
        number=number,
        served=served,
        feedback=traffic.feedback,
        night=night,
        champion=champion,
        fresh=measure(session, world, asked, champion),
        base=measure(session, world, asked[:BASE_USERS], 0),
        seconds={"serving": served_at - started, "night": ran_at - served_at},
    )


def _mistake(session: Session, world: World, day: int, folder: Path) -> Mistake:
    """Somebody promotes the first version by hand; users suffer; the command rolls it back."""
    champion = steps.serving_version(session.parts)
    wrong = session.registry.versions()[0].version
    before = adapter_sha256(session.registry.fetch(champion))
    _command(folder, "promote", str(wrong), "--force", "--reason", "the wrong number, typed at 3 a.m.")
    measured = measure(session, world, helpdesk.fresh(world, day, FRESH_USERS), steps.serving_version(session.parts))
    began = time.monotonic()
    _command(folder, "rollback", "--reason", "users complain")
    seconds = time.monotonic() - began
    shutil.rmtree(session.home / "versions")
    restored = adapter_sha256(session.registry.fetch(steps.serving_version(session.parts)))
    return Mistake(wrong=wrong, champion=champion, measured=measured, restored=restored == before, seconds=seconds)


def _command(folder: Path, *arguments: str) -> None:
    """The real command, as the person on call types it; what it prints is shown."""
    click.echo(f"$ nightshift {' '.join(arguments)}")
    home = {"NIGHTSHIFT_HOME": ".nightshift"}
    subprocess.run([sys.executable, "-m", "loop.cli", *arguments], cwd=folder, env={**os.environ, **home}, check=True)  # noqa: S603
