"""Launch of a training: in this process, or in several that torchrun starts and whose steps are read here."""

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
from loop.machine import BY_RULE, Machine
from loop.memory import MEMORY, Memory
from loop.ports import Progress, silent
from loop.training import engine, manifest, ranks
from loop.training.job import Job, Step
from loop.training.weights import precision

_LOG = logging.getLogger(__name__)
STEP, FAULT, LOGGED = "nightshift-step", "nightshift-fault", "nightshift-logged"
PROGRESS = "nightshift-progress"
"""First words of the lines that a process prints for the one that started it."""
LOG, HANDED = "processes.log", "job.pickle"
"""Files in the job's folder while processes run: their standard error, and the job handed to them."""
PATIENCE = 30.0
"""Seconds that processes have to end before they are killed."""


def train(job: Job, read: Memory = MEMORY, progress: Progress = silent, machine: Machine = BY_RULE) -> Iterator[Step]:
    """Train `job` into `job.folder` and yield one `Step` after each optimiser step; see `engine.train`.

    A training in several processes also continues at its last checkpoint. Raises TrainingError when one of them dies.
    """
    count = processes(machine)
    if count == 1:
        yield from engine.train(job, read, progress, machine)
    elif not manifest.finished(job.folder):  # before any process is started
        yield from _in_processes(job, count, read, progress, machine)


def processes(machine: Machine) -> int:
    """Number of processes of a training: as `machine` says, else as many as GPUs, else one."""
    # Without GPUs one: two processes of one thread were a tenth faster than one of two, for twice the weights in memory
    # and a longer start.
    return machine.processes or max(1, torch.cuda.device_count())


def main(handed: Path) -> int:
    """Main function of one of the processes: it trains the job pickled in `handed` and returns its exit code."""
    # Before anything slow, so that the process ends with its starter from its first second on.
    threading.Thread(target=_end_with_starter, daemon=True).start()
    job, read, machine = pickle.loads(handed.read_bytes())  # noqa: S301 - `_in_processes` wrote it for this
    ranks.join(precision.choose(job.dtype).device)
    # All processes take the same steps and log the same lines: one of them reports.
    if ranks.rank() == 0:
        logging.getLogger("loop").addHandler(_ToStarter())
    try:
        for step in engine.train(job, read, _to_starter, machine):
            if ranks.rank() == 0:
                _say(STEP, asdict(step))
        # The others are done before the first process has saved the adapter, and wait for it here.
        distributed.barrier()
    except NightshiftError as error:
        # A fault may occur in one process alone, so every process reports its own.
        _say(FAULT, {"kind": type(error).__name__, "what": error.what, "remedy": error.remedy})
        return 1
    finally:
        distributed.destroy_process_group()
    return 0


def _end_with_starter() -> None:
    """Wait until the starter of the processes is gone, which closes their standard input, and exit.

    So they also end with a starter that was killed and could not end them.
    """
    while os.read(0, 1):
        pass
    # sys.exit would end this thread alone.
    os._exit(1)


class _ToStarter(logging.Handler):
    """Log handler of the first process: its lines are logged by the one that started it."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(LOGGED, {"name": record.name, "level": record.levelno, "message": record.getMessage()})


def _to_starter(stage: str, done: int, of: int, note: str) -> None:
    """Progress of the first process, printed for the one that started it."""
    if ranks.rank() == 0:
        _say(PROGRESS, {"stage": stage, "done": done, "of": of, "note": note})


def _say(mark: str, content: dict[str, object]) -> None:
    """Print one line for the starter of this process."""
    # In one write, which print is not under PYTHONUNBUFFERED: a line in two would run into another process's.
    sys.stdout.write(f"{mark} {json.dumps(content)}\n")
    sys.stdout.flush()


def _in_processes(job: Job, count: int, read: Memory, progress: Progress, machine: Machine) -> Iterator[Step]:
    """The steps of a training in `count` processes. Raises the first error that one of them reports."""
    job.folder.mkdir(parents=True, exist_ok=True)
    log, handed = job.folder / LOG, job.folder / HANDED
    handed.write_bytes(pickle.dumps((job, read, machine)))
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
        # A process that died is reported, not restarted: the next run continues at the checkpoint.
        "--max-restarts=0",
        "-m",
        "loop.training",
        str(handed),
    ]
    try:
        with log.open("w") as noise, _started(command, noise.fileno()) as process:
            fault = yield from _steps(process, progress)
    finally:
        handed.unlink(missing_ok=True)
    # A reported fault is raised as it would be in one process; an exit code without one means that a process died.
    if fault is not None:
        raise getattr(errors, fault["kind"])(fault["what"], fault["remedy"])
    if process.returncode:
        raise TrainingError(
            f"one of the {count} processes of a training died, the others were ended",
            f"read the end of {log}, mend what it says and run again: training goes on at its last checkpoint",
        )
    log.unlink()  # only after success: the error above names the log


@contextmanager
def _started(command: list[str], noise: int) -> Iterator[subprocess.Popen[str]]:
    """A process that runs `command` and has ended when the block has, also when the block raises."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=noise, text=True) as process:  # noqa: S603 - our own
        try:
            yield process
            process.wait()
        except BaseException:  # also KeyboardInterrupt, and GeneratorExit where nobody reads the steps any more
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            raise


def _steps(process: subprocess.Popen[str], progress: Progress) -> Generator[Step, None, dict[str, str] | None]:
    """The steps that the first process reports; its log lines and progress are passed on.

    Returns the first fault that any process reports.
    """
    fault = None
    for line in process.stdout or ():
        mark, _, content = line.partition(" ")
        if mark == STEP:
            yield Step(**json.loads(content))
        elif mark == LOGGED:
            report = json.loads(content)
            logging.getLogger(report["name"]).log(report["level"], "%s", report["message"])
        elif mark == PROGRESS:
            report = json.loads(content)
            progress(report["stage"], report["done"], report["of"], report["note"])
        elif mark == FAULT:
            fault = fault or json.loads(content)
    return fault
