"""A night on a machine whose memory others have taken waits, and is skipped where it waited in vain."""

import re
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner, Result

from loop import settings
from loop.app import App
from loop.cli.night import run
from loop.cli.session import Session
from loop.memory import Memory
from loop.types import NightStatus
from tests.machine import machine
from tests.project import nightshift

GIB = 2**30


def session(folder: Path, memory: Memory) -> Session:
    """What the command works with in `folder`, on a machine with another memory."""
    loaded = settings.load(folder / "nightshift.toml")
    here = replace(loaded, addresses=settings.Addresses(home=folder / ".nightshift"))
    return Session(App(here, memory=memory))


def night(made: Session, as_of: str) -> Result:
    return CliRunner().invoke(run, ["--as-of", as_of], obj=made)


def test_a_night_without_memory_is_skipped_with_the_figures_and_the_next_one_trains(project, tmp_path):
    full = machine(tmp_path / "full", installed=8 * GIB, free=2**10, patience=0.05)
    skipped = night(made := session(project, full), "2026-01-03T00:00")
    assert skipped.exit_code == 3, skipped.output
    assert "night-0001 SKIPPED" in skipped.output
    assert "the model's weights need 0.00 GiB, 0.00 GiB of memory are free after" in skipped.output
    [told] = made.app.store.nights()
    assert told.status is NightStatus.SKIPPED
    assert told.outputs.version is None
    assert Path(str(told.outputs.report)).exists()
    again = night(session(project, machine(tmp_path / "roomy", installed=8 * GIB)), "2026-01-04T00:00")
    assert again.exit_code in {0, 3}, again.output
    assert "night-0002 SKIPPED" not in again.output
    assert made.app.store.nights()[-1].outputs.decision_id is not None


def test_a_night_says_how_large_its_training_and_its_evaluation_are(project):
    done = nightshift("run", "--as-of", "2026-01-03T00:00", folder=project)
    assert done.returncode in {0, 3}, done.stderr
    assert " tokens; about 1 minute on this machine" in done.stderr
    assert re.search(
        r"evaluation: (\d+) answers by the candidate, \1 answers by the champion; about \d+ min", done.stderr
    )
