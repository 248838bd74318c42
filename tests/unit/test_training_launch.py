"""What the processes of a training tell the one that started them."""

import io
import json
import sys
from pathlib import Path

import pytest

from loop.errors import TrainingError
from loop.settings import TrainingSettings
from loop.training import Job, launch


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


def job(folder: Path, processes: int) -> Job:
    return Job(
        job_id="c",
        snapshot_id="s",
        examples=(),
        dev=(),
        base=folder / "base",
        parent=None,
        parent_version=0,
        folder=folder,
        cache=folder / "cache",
        settings=TrainingSettings(processes=processes, autocast="off"),
        dtype="float32",
    )


def test_more_processes_than_gpus_are_refused_before_they_start(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(TrainingError, match="3 processes cannot each have one of 2 GPUs"):
        next(launch.train(job(tmp_path, 3)))


def test_more_processes_than_cores_are_said_to_be(tmp_path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr(launch, "_in_processes", lambda _, count, *__: iter([count]))
    assert [*launch.train(job(tmp_path, 2))] == [2]
    assert "2 processes share 1 cores" in caplog.text
