"""From tasks and models to evidence: candidate, champion and anchor on the same items in one process."""

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from evals.suites import preference
from evals.task import Model, Score, Task, answer_key, judge, task_sha256
from loop.types import Json, PairedScore, SuiteEvidence, SuiteRole


def collect(
    tasks: Sequence[Task], *, candidate: Model, champion: Model, anchor: Model | None, cache: Path
) -> tuple[tuple[SuiteEvidence, ...], list[dict[str, Json]]]:
    """Paired scores of every task, and for the superiority suites a table of answers to read.

    Answers are kept in `cache/<model fingerprint>.json`, one per prompt: tonight's candidate is known when it comes
    back as tomorrow's champion, and suites that ask the same prompt share its answer. Scores are always taken anew. The
    anchor answers the superiority suites only.
    """
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


def _scores(task: Task, model: Model, cache: Path) -> dict[str, Score]:
    path = cache / f"{model.fingerprint}.json"
    keys = [answer_key(task, item) for item in task.items]
    known = _read(path)
    missing = {key: item for key, item in zip(keys, task.items, strict=True) if key not in known}
    if missing:
        answers = task.solver(model, [*missing.values()], task.sampling)
        known.update(zip(missing, answers, strict=True))
        _write(path, known)
    return {score.item_id: score for score in judge(task, [known[key] for key in keys])}


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
            "candidate_answer": ours[item.item_id].answer,
            "champion_answer": theirs[item.item_id].answer,
            "candidate_score": ours[item.item_id].value,
            "champion_score": theirs[item.item_id].value,
        }
        for item in task.items
    ]


def _read(path: Path) -> dict[str, str]:
    """What is cached; a file that is absent or damaged holds nothing."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _write(path: Path, known: Mapping[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    with os.fdopen(descriptor, "w") as file:
        json.dump(known, file)
    Path(temporary).replace(path)
