"""The command in a process of its own, forked from one that has imported everything: the same code, seconds earlier."""

import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from pathlib import Path

FORKED = "forkserver"
"""Start method of processes that need not import what `tests.warm` has."""
_SERVER = get_context(FORKED)
_SERVER.set_forkserver_preload(["tests.warm"])


def completed(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """`python -m loop.cli` with these arguments, in this folder and with this environment alone, run to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = started(arguments, folder, environment, out.fileno(), err.fileno())
        process.join()
        out.seek(0)
        err.seek(0)
        said = (out.read().decode(), err.read().decode())
    return subprocess.CompletedProcess(list(arguments), process.exitcode or 0, *said)


def started(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], out: int, err: int) -> BaseProcess:
    """The same, running; `out` and `err` are descriptors of files or pipes."""
    handed = (DupFd(out), DupFd(err))
    process = _SERVER.Process(target=_run, args=(list(arguments), folder, dict(environment), handed))
    process.start()
    return process


def _run(arguments: list[str], folder: Path, environment: dict[str, str], handed: Sequence[DupFd]) -> None:
    """The body of the forked process, with `handed` as standard output and error."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, file in enumerate(handed, 1):
        os.dup2(file.detach(), number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["nightshift", *arguments]
    runpy.run_module("loop.cli", run_name="__main__")
