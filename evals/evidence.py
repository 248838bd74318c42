"""Evidence from tasks and models: candidate, champion and anchor answer the same items in one process."""

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
# Shown without --verbose, like the size of a training.
_LOG.setLevel(logging.INFO)


@dataclass(frozen=True, slots=True)
class Asked:
    """The items that one model answers together."""

    name: str
    model: Model
    solver: Solver
    sampling: Sampling
    items: Mapping[str, Item]
    """Items by the key of their answer."""


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
    """Paired scores of every task, and for the superiority suites a table of answers beside the wanted ones.

    Answers are kept in `cache/<model fingerprint>.json`, one per prompt. So tonight's candidate has its answers already
    when it is tomorrow's champion, suites that ask the same prompt share its answer, and an evaluation that was killed
    loses at most `chunk` answers. Scores are always taken anew. The anchor answers the superiority suites only.
    """
    judging = [task for task in tasks if _seeks_gain(task.role)]
    named = (("candidate", candidate, tasks), ("champion", champion, tasks), ("anchor", anchor, judging))
    asked: list[Asked] = []
    for name, model, answering in named:
        if model:
            asked += _asked(name, model, answering)
    # All answers before any score, so that a model is asked once for all its suites.
    _answer(asked, cache, chunk, progress)
    suites: list[SuiteEvidence] = []
    table: list[dict[str, Json]] = []
    for task in tasks:
        ours, theirs = _scores(task, candidate, cache), _scores(task, champion, cache)
        judged = _seeks_gain(task.role)
        anchored = _scores(task, anchor, cache) if anchor and judged else {}
        suites.append(_paired(task, ours, theirs, anchored))
        # Another reading of the same log-probabilities, which asks the models nothing more.
        if task.name == preference.NAME:
            suites.append(preference.implicit_reward(task, ours.values(), theirs))
        if judged:
            table += _table(task, ours, theirs)
    return tuple(suites), table


def _seeks_gain(role: SuiteRole) -> bool:
    """Whether suites of this role are also answered by the anchor, and their answers are shown."""
    match role:
        case SuiteRole.SUPERIORITY:
            return True
        case SuiteRole.GUARD | SuiteRole.REPORT:
            return False


def _asked(name: str, model: Model, tasks: Sequence[Task]) -> Iterator[Asked]:
    """The items of all tasks for one model, by solver and sampling: a generator is slow when it is called for few."""
    together: dict[tuple[Solver, Sampling], dict[str, Item]] = {}
    for task in tasks:
        items = {answer_key(task, item): item for item in task.items}
        together.setdefault((task.solver, task.sampling), {}).update(items)
    for (solver, sampling), keyed in together.items():
        yield Asked(name, model, solver, sampling, keyed)


def _answer(asked: Sequence[Asked], cache: Path, chunk: int, progress: Progress) -> None:
    """Fill the cache with every answer that the scores need."""
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
            # After every chunk, so that a kill costs this chunk alone.
            write_cache(path, known)
            done += len(items)
            # Once, and after the first chunk: before it nothing is known of this machine's speed.
            if not said:
                minutes = ceil((time.monotonic() - began) / len(items) * (total - done) / 60)
                _LOG.info("evaluation: %s; about %d min on this machine", _answer_counts(asked), minutes)
                said = True
    progress("evaluate", total, total, "ended")


def _answer_counts(asked: Sequence[Asked]) -> str:
    """Number of answers that each model has to give, in words."""
    items = Counter[str]()
    for each in asked:
        items[each.name] += len(each.items)
    return ", ".join(f"{count:,} answers by the {name}" for name, count in items.items())


def _length(keyed: tuple[str, Item]) -> int:
    """Number of characters of the prompt; a chunk of prompts of similar length needs little padding."""
    return sum(len(message.content) for message in keyed[1].prompt)


def _scores(task: Task, model: Model, cache: Path) -> dict[str, Score]:
    known = read_cache(cache / f"{model.fingerprint}.json")
    answers = [known[answer_key(task, item)] for item in task.items]
    return {score.item_id: score for score in judge(task, answers)}


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
    rows: list[dict[str, Json]] = []
    for item in task.items:
        row: dict[str, Json] = {
            "item_id": item.item_id,
            "prompt": item.prompt[-1].content,
            "wanted": list(item.references),
            "rejected": list(item.rejected),
            "checks": [f"{verifier.kind}: {verifier.target}" for verifier in item.verifiers],
            "candidate_answer": ours[item.item_id].answer,
            "champion_answer": theirs[item.item_id].answer,
            "candidate_score": ours[item.item_id].value,
            "champion_score": theirs[item.item_id].value,
        }
        rows.append(row)
    return rows
