"""`nightshift capture` as a process of its own, watched through what it shows of itself."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.project import environment

PATIENCE_SECONDS = 120


ROOT = Path(__file__).parents[1]


def follow(folder: Path, named: Mapping[str, str], *settings: str, number: int = 0) -> "Follower":
    """A capture in `folder` that follows its log, with these NIGHTSHIFT_* and `--set`."""
    chosen = [word for setting in settings for word in ("--set", setting)]
    return _started([*["-m", "loop.cli"], *chosen, "capture"], folder, named, settings, number)


def follow_shortly(folder: Path, named: Mapping[str, str], *settings: str, number: int = 0) -> "Follower":
    """The same in a group that gives a silent member up after 6 seconds."""
    named = {**named, "PYTHONPATH": str(ROOT)}
    return _started([*["-m", "tests.capture_process", "6", "2000"], *settings], folder, named, settings, number)


def _started(
    words: Sequence[str], folder: Path, named: Mapping[str, str], settings: tuple[str, ...], number: int
) -> "Follower":
    command = [sys.executable, *words, "--metrics", "127.0.0.1:0"]
    said = folder / f"capture-{number}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env={**environment(), **named}, stdout=log, stderr=log)
    return Follower(process, said, named, settings)


class Follower:
    """A running capture."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", said: Path, named: Mapping[str, str], settings: tuple[str, ...]
    ) -> None:
        self.process = process
        self.named = named
        self.settings = settings
        self._said = said

    def said(self) -> str:
        """All it logged so far."""
        return self._said.read_text(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of /metrics or /healthz."""
        await_that(lambda: "metrics on" in self.said() or self.process.poll() is not None, self.said)
        address = re.search(r"metrics on (\S+)", self.said())
        assert address, self.said()
        try:
            with urllib.request.urlopen(f"http://{address[1]}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read().decode()

    def metric(self, line: str) -> float:
        """The value on the line of /metrics that begins with `line`; 0 without one."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.get("/metrics")[1], re.MULTILINE)
        return float(found[1]) if found else 0.0

    def drain(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """At once, if it still runs."""
        self.process.kill()
        self.process.wait()


def await_that(condition: Callable[[], bool], told: Callable[[], str], seconds: float = PATIENCE_SECONDS) -> None:
    """Until `condition` holds; AssertionError with what is `told` when it takes longer than `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.1)
