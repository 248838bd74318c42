"""Scorers that a suite of a user's own may name: some of ours, or a function of the user's, loaded and tried."""

import importlib
import inspect
import logging
import runpy
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path

from evals.scorers import graded, same_number, same_text, similarity, verified
from evals.task import Item, Scorer
from loop.errors import SuiteError
from loop.hashing import file_sha256

_LOG = logging.getLogger(__name__)
SIGNATURE = "def score(item: evals.task.Item, answer: str) -> float, from 0 to 1"


@dataclass(frozen=True, slots=True)
class Scoring:
    """A scorer as a suite names it."""

    scorer: Scorer
    needs: str
    """Fields that an item has to have for it, in words."""
    code: str = ""
    """sha256 of the module's source; empty for a scorer of ours."""


SCORERS: Mapping[str, Scoring] = {
    "graded": Scoring(graded, "a `reference` or `verifiers`"),
    "exact": Scoring(same_text, "a `reference`"),
    "numeric": Scoring(same_number, "a `reference` with a number"),
    "similarity": Scoring(similarity, "a `reference`"),
    "verified": Scoring(verified, "`verifiers`"),
}
"""Scorers of ours by name."""


def resolve(named: str, project: Path) -> Scoring:
    """The scorer called `named`: one of ours, or `module:function` from the project's folder or installed."""
    module, colon, function = named.partition(":")
    if not colon:
        if named not in SCORERS:
            raise SuiteError(
                f"there is no scorer {named!r}", f"use one of {', '.join(SCORERS)}, or your own as module:function"
            )
        return SCORERS[named]
    folder = project.absolute()
    file, names = _loaded(module, folder)
    found = names.get(function)
    if not inspect.isfunction(found):
        raise SuiteError(f"{file} has no function {function!r}", f"write it there: {SIGNATURE}")
    try:
        inspect.signature(found).bind(None, "")
    except TypeError as error:
        raise SuiteError(f"{_line_of_function(found)}: it cannot be called: {error}", f"write {SIGNATURE}") from error
    return Scoring(found, "what it reads", file_sha256(file))


def tried(scoring: Scoring, item: Item, place: str) -> None:
    """Score an item's references and an empty answer. Raises SuiteError where one of them gets no score."""
    for answer in ("", *item.references):
        if scoring.code:
            _called(scoring.scorer, item, answer, place)
        elif scoring.scorer(item, answer) is None:
            raise SuiteError(f"{place}: the suite's scorer finds nothing to judge by", f"give it {scoring.needs}")


def guarded(scoring: Scoring) -> Scorer:
    """A user's scorer whose faults on a model's answers are missing scores and lines in the log, and end no night."""
    scorer = scoring.scorer

    @wraps(scorer)
    def score(item: Item, answer: str) -> float | None:
        try:
            return _called(scorer, item, answer, f"item {item.item_id}")
        except SuiteError as error:
            _LOG.warning("no score: %s", error.what)
            return None

    return score


def _called(scorer: Scorer, item: Item, answer: str, place: str) -> float:
    """The score of an answer. Raises SuiteError with the line of the fault, and for what is no score."""
    try:
        score = scorer(item, answer)
    except Exception as error:  # whatever a user's code raises
        where = _line_of(error, Path(inspect.getfile(scorer)).parent)
        raise SuiteError(f"{where}: {_message(error)} (scoring {place})", f"mend the scorer: {SIGNATURE}") from error
    if not isinstance(score, bool | int | float) or not 0 <= score <= 1:
        raise SuiteError(
            f"{_line_of_function(scorer)}: it gives {score!r} (scoring {place})", "return a number from 0 to 1"
        )
    return float(score)


def _loaded(name: str, folder: Path) -> tuple[Path, Mapping[str, object]]:
    """File and names of a module that lies in `folder`, else of an installed one. Raises SuiteError with its line."""
    file = folder.joinpath(*name.split(".")).with_suffix(".py")
    with _first_on_path(folder):
        try:
            if file.is_file():
                # Not by an import: a night may run in a process that has imported an older text, or another project's.
                return file, runpy.run_path(str(file), run_name=name)
            module = importlib.import_module(name)
            return Path(inspect.getfile(module)), vars(module)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise _unloadable(error, folder) from error
            raise SuiteError(
                f"there is no module {name}: neither {file} nor installed",
                "write it there, or correct `scorer` under [[suites]]",
            ) from error
        except Exception as error:  # whatever a user's code raises
            raise _unloadable(error, folder) from error


@contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _unloadable(error: Exception, folder: Path) -> SuiteError:
    return SuiteError(f"{_line_of(error, folder)}: {_message(error)}", "mend the module of the scorer")


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _line_of(error: Exception, folder: Path) -> str:
    """File and line of a fault: that of a syntax error, else the last line in `folder` that ran, else the last."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}"
    ran = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<")]
    theirs = [frame for frame in ran if Path(frame.filename).is_relative_to(folder)]
    last = (theirs or ran)[-1]
    return f"{last.filename}:{last.lineno}"


def _line_of_function(function: Scorer) -> str:
    return f"{inspect.getfile(function)}:{inspect.unwrap(function).__code__.co_firstlineno}"
