"""A small project folder for tests through the command: settings, a tiny random model, a day of feedback."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from loop.intake.events import encode
from loop.settings import without_addresses
from loop.types import Feedback, FeedbackKind, Interaction, Message, Stage
from tests import forked
from tests.tiny import tiny_model

DAY_ONE = datetime(2026, 1, 1, 8, tzinfo=UTC)
AS_OF = "2026-01-03T00:00"

SETTINGS = """
[model]
base = "{base}"
dtype = "float32"

[curation]
min_account_days = 0.0
vault_share = 0.3

[training]
rank = 4
learning_rate = 5e-3
epochs = 1.0
min_steps = 0
max_tokens = 256

[evaluation]
max_new_tokens = 12
"""


def make_project(folder: Path, *, users: int = 60) -> Path:
    """A folder with nightshift.toml, a tiny base model and `events.jsonl`; nothing is imported yet."""
    base = tiny_model(folder / "base")
    (folder / "nightshift.toml").write_text(SETTINGS.format(base=base))
    lines = [encode(event).payload.decode() for user in range(users) for event in edited(user)]
    (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def edited(user: int) -> tuple[Interaction, Feedback]:
    """One answer and the edit its user made."""
    asked_at = DAY_ONE + timedelta(minutes=user)
    interaction = Interaction(
        interaction_id=f"i{user}",
        source="test",
        occurred_at=asked_at,
        conversation_id=f"c{user}",
        messages=(Message("user", f"Where is order {user}?"),),
        response=Message("assistant", "I do not know."),
        model="assistant@0",
        user_key=f"user-{user}",
    )
    feedback = Feedback(
        feedback_id=f"f{user}",
        source="test",
        occurred_at=asked_at + timedelta(minutes=1),
        interaction_id=f"i{user}",
        kind=FeedbackKind.EDIT,
        text=f"Order {user} arrives on Monday.",
        user_key=f"user-{user}",
    )
    return interaction, feedback


def nightshift(*arguments: str, folder: Path, **named: str) -> "subprocess.CompletedProcess[str]":
    """The command, run in `folder` to its end, with these variables."""
    return forked.completed(arguments, folder, environment() | named)


def from_the_start(*arguments: str, folder: Path, **named: str) -> "subprocess.CompletedProcess[str]":
    """The same in a process that has imported nothing yet: for tests of what is imported, and of how Python starts."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment() | named, capture_output=True, text=True, check=False
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "loop.cli", *arguments]


def environment() -> dict[str, str]:
    return {**without_addresses(os.environ), "HF_HUB_OFFLINE": "1"}


def killed_at(stage: Stage, *arguments: str, folder: Path) -> list[str]:
    """Stages that a night began until it was killed, as soon as it said that `stage` began."""
    reading, writing = os.pipe()
    night = forked.started(("-v", *arguments), folder, environment(), out=writing, err=writing)
    os.close(writing)  # the night's own is the last one, so that the lines end with it
    seen: list[str] = []
    with os.fdopen(reading) as lines:
        for line in lines:
            seen += stages_started(line)
            if seen and seen[-1] == stage:
                night.kill()
                break
    night.join()
    assert night.exitcode == -signal.SIGKILL
    return seen


def stages_started(log: str) -> list[str]:
    """Stages that a night of `-v` says it began."""
    return re.findall(r"night-\d+: (\w+)$", log, re.MULTILINE)
