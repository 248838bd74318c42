"""What the processes of a training tell the one that started them."""

import io
import json
import sys

import pytest

from loop.machine import Machine
from loop.training import launch


class Pipe(io.RawIOBase):
    """Keeps what each write brings."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: bytes) -> int:  # type: ignore[override]
        self.writes.append(bytes(content))
        return len(content)


def test_unbuffered_lines_are_whole_so_that_those_of_two_processes_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = Pipe()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(pipe, write_through=True))
    told = {"what": "loss or gradient was not finite", "remedy": "lower `learning_rate`"}
    launch._say(launch.FAULT, told)
    [line] = pipe.writes
    assert line.endswith(b"\n")
    assert json.loads(line.removeprefix(launch.FAULT.encode())) == told


@pytest.mark.parametrize(("gpus", "asked", "started"), [(0, 0, 1), (1, 0, 1), (4, 0, 4), (4, 2, 2), (0, 3, 3)])
def test_there_are_as_many_processes_as_gpus_and_one_without(
    monkeypatch: pytest.MonkeyPatch, gpus: int, asked: int, started: int
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert launch.processes(Machine(processes=asked)) == started
