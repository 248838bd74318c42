"""Where a training runs: in this process, or in several that torchrun starts and whose steps are read here."""

import json
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from torch import distributed

from loop import errors
from loop.errors import NightshiftError, TrainingError
from loop.memory import MEMORY, Memory
from loop.ports import Progress
from loop.training import engine, manifest, ranks
from loop.training.job import Job, Step
from loop.training.weights import precision

_LOG = logging.getLogger(__name__)
STEP, FAULT, LOGGED = "nightshift-step", "nightshift-fault", "nightshift-logged"
PROGRESS = "nightshift-progress"
"""First words of the lines that are meant for the one that started the processes."""
LOG, HANDED = "processes.log", "job.pickle"
PATIENCE = 30.0
"""Seconds that processes have to end."""


def _silent(stage: str, done: int, of: int, note: str) -> None:
    """Nobody watches."""


def train(job: Job, read: Memory = MEMORY, progress: Progress = _silent) -> Iterator[Step]:
    """Train `job` into `job.folder`, one value after each optimiser step; see `engine.train`.

    In several processes too a training goes on at its last checkpoint. Raises TrainingError when one of them dies
    or would be without a GPU where there are some.
    """
    count = job.settings.processes
    if count == 1:
        yield from engine.train(job, read, progress)
    elif not manifest.finished(job.folder):
        _require_devices(job, count)
        yield from _in_processes(job, count, read, progress)


def _require_devices(job: Job, count: int) -> None:
    """Raises TrainingError where a process would be without a GPU; more processes than cores are only slow."""
    gpus, cores = torch.cuda.device_count(), os.cpu_count() or 1
    if precision.choose(job.settings, job.dtype).device == "cpu":
        if count > cores:
            _LOG.warning("%d processes share %d cores: set `processes` under [training] to no more", count, cores)
    elif count > gpus:
        raise TrainingError(
            f"{count} processes cannot each have one of {gpus} GPUs",
            f"set `processes` under [training] to {gpus} or less",
        )


def main(handed: Path) -> int:
    """One of the processes: the job is pickled in `handed`."""
    threading.Thread(target=_end_with_starter, daemon=True).start()
    job, read = pickle.loads(handed.read_bytes())  # noqa: S301 - `_in_processes` wrote it for this
    ranks.join(precision.choose(job.settings, job.dtype).device)
    if ranks.rank() == 0:
        logging.getLogger("loop").addHandler(_ToStarter())
    try:
        for step in engine.train(job, read, _to_starter):
            if ranks.rank() == 0:
                _say(STEP, asdict(step))
        distributed.barrier()
    except NightshiftError as error:
        _say(FAULT, {"kind": type(error).__name__, "what": error.what, "remedy": error.remedy})
        return 1
    finally:
        distributed.destroy_process_group()
    return 0


def _end_with_starter() -> None:
    """Wait until the one that started the processes is gone, and its end of their standard input with it."""
    while os.read(0, 1):
        pass
    os._exit(1)


class _ToStarter(logging.Handler):
    """What the first process would log is logged by the one that started it."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(LOGGED, {"name": record.name, "level": record.levelno, "message": record.getMessage()})


def _to_starter(stage: str, done: int, of: int, note: str) -> None:
    """Progress of the first process, for the one that started it."""
    if ranks.rank() == 0:
        _say(PROGRESS, {"stage": stage, "done": done, "of": of, "note": note})


def _say(mark: str, content: dict[str, object]) -> None:
    """In one write, also under PYTHONUNBUFFERED: a line in several would run into another process's."""
    sys.stdout.write(f"{mark} {json.dumps(content)}\n")
    sys.stdout.flush()


def _in_processes(job: Job, count: int, read: Memory, progress: Progress) -> Iterator[Step]:
    job.folder.mkdir(parents=True, exist_ok=True)
    log, handed = job.folder / LOG, job.folder / HANDED
    handed.write_bytes(pickle.dumps((job, read)))
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "--max-restarts=0"]
    command = [sys.executable, *launcher, "-m", "loop.training", str(handed)]
    try:
        with log.open("w") as noise, _started(command, noise.fileno()) as process:
            fault = yield from _steps(process, progress)
    finally:
        handed.unlink(missing_ok=True)
    if fault is not None:
        raise getattr(errors, fault["kind"])(fault["what"], fault["remedy"])
    if process.returncode:
        raise TrainingError(
            f"one of the {count} processes of a training died, the others were ended",
            f"read the end of {log}, mend what it says and run again: training goes on at its last checkpoint",
        )
    log.unlink()


@contextmanager
def _started(command: list[str], noise: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has ended when this does."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=noise, text=True) as process:  # noqa: S603 - our own
        try:
            yield process
            process.wait()
        except BaseException:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _steps(process: subprocess.Popen[str], progress: Progress) -> Generator[Step, None, dict[str, str] | None]:
    """The steps that the first process tells of; its log and progress go where this one's go.

    Returns the first fault that any process tells of.
    """
    fault = None
    for line in process.stdout or ():
        mark, _, content = line.partition(" ")
        if mark == STEP:
            yield Step(**json.loads(content))
        elif mark == LOGGED:
            told = json.loads(content)
            logging.getLogger(told["name"]).log(told["level"], "%s", told["message"])
        elif mark == PROGRESS:
            told = json.loads(content)
            progress(told["stage"], told["done"], told["of"], told["note"])
        elif mark == FAULT:
            fault = fault or json.loads(content)
    return fault
