"""Starts the captures and hurts everything at random."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.services import Kafka, Postgres

SESSION_SECONDS = 6
"""A capture that is stopped for longer has lost its partitions when it wakes up."""
LAST_WORDS = 2_000
"""Characters of the log of a capture that ended by itself."""
BATCH_EVENTS = (50, 2000)
"""Of captures in turn: many transactions for a kill to fall into or between, and large ones."""


@dataclass(slots=True)
class Captures:
    """A few capture processes of one group; each is started again when it ends."""

    environment: Mapping[str, str]
    folder: Path
    control: bool
    """Whether they are those whose offset is committed in a transaction of its own."""
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    gave_up: list[str] = field(default_factory=list)
    """What each said last that ended by itself, which none should."""

    def start(self, count: int) -> None:
        self.processes = [self._spawn(number) for number in range(count)]

    def kill(self, number: int) -> None:
        """SIGKILL and a successor."""
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = self._spawn(number)

    def revive(self) -> None:
        """Start those again that ended by themselves."""
        for number, process in enumerate(self.processes):
            if process.poll() is not None:
                self.gave_up.append(self._log(number).read_text(errors="replace")[-LAST_WORDS:])
                self.processes[number] = self._spawn(number)

    def drain(self) -> list[int]:
        """SIGTERM to all; their exit codes."""
        for process in self.processes:
            process.terminate()
        return [process.wait(60) for process in self.processes]

    def kill_all(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def said(self, text: str) -> int:
        """Lines with `text` in what they all logged."""
        logs = [path.read_text(errors="replace") for path in self.folder.glob("capture-*.log")]
        return sum(text in line for log in logs for line in log.splitlines())

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        with self._log(number).open("ab") as log:
            environment = {**os.environ, **self.environment}
            command = capture_command(BATCH_EVENTS[number % 2], control=self.control)
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def _log(self, number: int) -> Path:
        return self.folder / f"capture-{number}.log"


@dataclass(slots=True)
class Nemesis:
    """What can go wrong, on purpose."""

    kafka: Kafka
    postgres: Postgres
    captures: Captures
    rng: random.Random
    done: Counter[str] = field(default_factory=Counter)

    def harm(self, kind: str) -> None:
        """One of the methods below, by its name."""
        self.captures.revive()
        getattr(self, kind)()
        self.done[kind] += 1

    def capture_killed(self) -> None:
        self.captures.kill(self.rng.randrange(len(self.captures.processes)))

    def zombie(self) -> None:
        process = self.rng.choice(self.captures.processes)
        process.send_signal(signal.SIGSTOP)
        time.sleep(2 * SESSION_SECONDS)
        process.send_signal(signal.SIGCONT)

    def broker_killed(self) -> None:
        self.kafka.kill(self.rng.randint(1, len(self.kafka.servers)))
        time.sleep(self.rng.uniform(0, 5))
        self.kafka.start()

    def database_crashed(self) -> None:
        self.postgres.crash()
        time.sleep(self.rng.uniform(0, 3))
        self.postgres.start()


def capture_command(batch_events: int, *, control: bool) -> list[str]:
    """What production runs, with a short session and transactions of this size, or the control."""
    module = "tests.campaign.control" if control else "tests.capture_process"
    return [sys.executable, "-m", module, str(SESSION_SECONDS), str(batch_events)]
