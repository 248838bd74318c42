"""From tasks and models to evidence: candidate, champion and anchor on the same items in one process."""

import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from evals.suites import preference
from evals.task import Item, Model, Score, Solver, Task, answer_key, judge, task_sha256
from loop.cache import read_cache, write_cache
from loop.ports import Progress
from loop.types import Json, PairedScore, Sampling, SuiteEvidence, SuiteRole

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.INFO)  # said without --verbose, like the size of a training


@dataclass(frozen=True, slots=True)
class Asked:
    """What one model answers in one go."""

    name: str
    model: Model
    solver: Solver
    sampling: Sampling
    items: Mapping[str, Item]
    """By the key of the answer."""


def collect(
    tasks: Sequence[Task],
    *,
    candidate: Model,
    champion: Model,
    anchor: Model | None,
    cache: Path,
    chunk: int,
    progress: Progress,
) -> tuple[tuple[SuiteEvidence, ...], list[dict[str, Json]]]:
    """Paired scores of every task, and for the superiority suites a table of answers to read beside what was wanted.

    Answers are kept in `cache/<model fingerprint>.json`, one per prompt: tonight's candidate is known when it comes
    back as tomorrow's champion, suites that ask the same prompt share its answer, and an evaluation that was killed
    goes on at most `chunk` answers back. Scores are always taken anew. The anchor answers the superiority suites only.
    """
    judging = [task for task in tasks if task.role is SuiteRole.SUPERIORITY]
    named = (("candidate", candidate, tasks), ("champion", champion, tasks), ("anchor", anchor, judging))
    asked = [each for name, model, answering in named if model for each in _asked(name, model, answering)]
    _answer(asked, cache, chunk, progress)
    suites: list[SuiteEvidence] = []
    table: list[dict[str, Json]] = []
    for task in tasks:
        ours, theirs = _scores(task, candidate, cache), _scores(task, champion, cache)
        judged = task.role is SuiteRole.SUPERIORITY
        suites.append(_paired(task, ours, theirs, _scores(task, anchor, cache) if anchor and judged else {}))
        if task.name == preference.NAME:
            suites.append(preference.implicit_reward(task, ours.values(), theirs))
        if judged:
            table += _table(task, ours, theirs)
    return tuple(suites), table


def _asked(name: str, model: Model, tasks: Sequence[Task]) -> Iterator[Asked]:
    """What a model is asked by all tasks together: short calls of a generator are slow ones."""
    together: dict[tuple[Solver, Sampling], dict[str, Item]] = {}
    for task in tasks:
        items = {answer_key(task, item): item for item in task.items}
        together.setdefault((task.solver, task.sampling), {}).update(items)
    for (solver, sampling), keyed in together.items():
        yield Asked(name, model, solver, sampling, keyed)


def _answer(asked: Sequence[Asked], cache: Path, chunk: int, progress: Progress) -> None:
    """Bring the cache to where every score can be taken."""
    total, done = sum(len(each.items) for each in asked), 0
    began, said = time.monotonic(), False
    for each in asked:
        path = cache / f"{each.model.fingerprint}.json"
        known = read_cache(path)
        unknown = [(key, item) for key, item in each.items.items() if key not in known]
        unknown.sort(key=_length, reverse=True)
        done += len(each.items) - len(unknown)
        for start in range(0, len(unknown), chunk):
            progress("evaluate", done, total, each.name)
            keys, items = zip(*unknown[start : start + chunk], strict=True)
            known.update(zip(keys, each.solver(each.model, items, each.sampling), strict=True))
            write_cache(path, known)
            done += len(items)
            if not said:
                minutes = ceil((time.monotonic() - began) / len(items) * (total - done) / 60)
                _LOG.info("evaluation: %s; about %d min on this machine", _told(asked), minutes)
                said = True
    progress("evaluate", total, total, "ended")


def _told(asked: Sequence[Asked]) -> str:
    """How much there is to answer, by whom."""
    items = Counter[str]()
    for each in asked:
        items[each.name] += len(each.items)
    return ", ".join(f"{count:,} answers by the {name}" for name, count in items.items())


def _length(keyed: tuple[str, Item]) -> int:
    """Characters of the prompt: chunks of like lengths are padded little."""
    return sum(len(message.content) for message in keyed[1].prompt)


def _scores(task: Task, model: Model, cache: Path) -> dict[str, Score]:
    known = read_cache(cache / f"{model.fingerprint}.json")
    return {score.item_id: score for score in judge(task, [known[answer_key(task, item)] for item in task.items])}


def _paired(
    task: Task, ours: Mapping[str, Score], theirs: Mapping[str, Score], anchor: Mapping[str, Score]
) -> SuiteEvidence:
    scores = [
        PairedScore(
            item_id=item_id,
            cluster=score.cluster,
            candidate=score.value,
            champion=theirs[item_id].value,
            anchor=anchor[item_id].value if anchor else None,
        )
        for item_id, score in ours.items()
    ]
    return SuiteEvidence(suite=task.name, suite_sha256=task_sha256(task), role=task.role, scores=tuple(scores))


def _table(task: Task, ours: Mapping[str, Score], theirs: Mapping[str, Score]) -> list[dict[str, Json]]:
    return [
        {
            "item_id": item.item_id,
            "prompt": item.prompt[-1].content,
            "wanted": [*item.references],
            "rejected": [*item.rejected],
            "checks": [f"{verifier.kind}: {verifier.target}" for verifier in item.verifiers],
            "candidate_answer": ours[item.item_id].answer,
            "champion_answer": theirs[item.item_id].answer,
            "candidate_score": ours[item.item_id].value,
            "champion_score": theirs[item.item_id].value,
        }
        for item in task.items
    ]
