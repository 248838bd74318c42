"""The parts of an evaluation: a task has items, a solver that answers them and a scorer that judges one answer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from loop.hashing import digest
from loop.ports import Generator
from loop.types import Message, Sampling, SuiteRole, Verifier


class Model(Generator, Protocol):
    """A generator that also scores given answers."""

    def score(self, pairs: Sequence[tuple[Sequence[Message], Message]]) -> list[float]:
        """Log-probability in nats of each response after its prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One held-out prompt, with the good and bad answers to it that are known."""

    item_id: str
    cluster: str
    prompt: tuple[Message, ...]
    verifiers: tuple[Verifier, ...] = ()
    references: tuple[str, ...] = ()
    """Answers that a user wrote, chose or approved."""
    rejected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one answer, 0 to 1; None if it could not be taken."""

    item_id: str
    cluster: str
    value: float | None
    answer: str


Solver = Callable[[Model, Sequence[Item], Sampling], list[str]]
Scorer = Callable[[Item, str], float | None]


@dataclass(frozen=True, slots=True)
class Task:
    """A suite, ready to run. Solver and scorer are module-level functions, because their names are part of its hash."""

    name: str
    role: SuiteRole
    items: tuple[Item, ...]
    solver: Solver
    scorer: Scorer
    sampling: Sampling
    code: str = ""
    """sha256 of the scorer's source, where a user wrote it; its name alone does not tell when it changes."""


def run(task: Task, model: Model) -> tuple[Score, ...]:
    """Scores of the model's answers to every item, in order."""
    return judge(task, task.solver(model, task.items, task.sampling))


def judge(task: Task, answers: Sequence[str]) -> tuple[Score, ...]:
    """Scores of given answers, one per item."""
    return tuple(
        Score(item.item_id, item.cluster, task.scorer(item, answer), answer)
        for item, answer in zip(task.items, answers, strict=True)
    )


def generate(model: Model, items: Sequence[Item], sampling: Sampling) -> list[str]:
    """The solver of most suites: the text of the model's own answers."""
    prompts = [item.prompt for item in items]
    return [generation.text for generation in model.generate(prompts, sampling)]


def task_sha256(task: Task) -> str:
    """Hash of a suite: of its items, and of how they are answered and judged."""
    how = [task.name, task.role, _name(task.solver), _name(task.scorer)]
    if task.code:
        how.append(task.code)
    return digest({"how": how, "sampling": task.sampling, "items": task.items})


def answer_key(task: Task, item: Item) -> str:
    """Hash of all that a model's answer depends on: the item, the solver and the sampling, not the task's other items.

    Two suites that ask the same prompt share its answer.
    """
    asked = {"prompt": item.prompt, "references": item.references, "rejected": item.rejected}
    # An answer that is generated depends on nothing but the prompt; only other solvers look at known answers.
    if task.solver is generate:
        asked = {"prompt": item.prompt}
    return digest({"asked": asked, "solver": _name(task.solver), "sampling": task.sampling})


def _name(function: Solver | Scorer) -> str:
    # With the module, as the functions of two suites may have the same name.
    return f"{function.__module__}.{function.__qualname__}"
