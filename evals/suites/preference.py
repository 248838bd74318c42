"""Report suite: whether the model finds the answers that held-out users chose likelier than those they rejected."""

import json
from collections.abc import Iterable, Mapping, Sequence

from evals.suites.items import greedy, items
from evals.task import Item, Model, Score, Task, task_sha256
from loop.settings import EvaluationSettings
from loop.types import Example, Message, Objective, PairedScore, Sampling, SuiteEvidence, SuiteRole

NAME = "preference"


def task(examples: Sequence[Example], settings: EvaluationSettings, max_pairs: int) -> Task:
    """The suite: the newest `max_pairs` held-out pairs (0: all), and best and worst of rankings.

    They are scored by plain log-probability, which favours short answers.
    """
    compared = [example for example in examples if example.objective in {Objective.PAIR, Objective.RANKING}]
    chosen = items(compared, _has_both, max_pairs)
    return Task(NAME, SuiteRole.REPORT, chosen, log_probabilities, prefers, greedy(settings))


def log_probabilities(model: Model, chosen: Sequence[Item], _: Sampling) -> list[str]:
    """Log-probabilities of each item's newest reference and newest rejected answer: JSON `[chosen, rejected]`, nats."""
    asked: list[tuple[Sequence[Message], Message]] = []
    for item in chosen:
        asked.append((item.prompt, Message("assistant", item.references[-1])))
        asked.append((item.prompt, Message("assistant", item.rejected[-1])))
    # One call for all, as short calls of a model are slow; chosen and rejected answers alternate.
    scores = model.score(asked)
    return [json.dumps(pair) for pair in zip(scores[::2], scores[1::2], strict=True)]


def prefers(_: Item, answer: str) -> float:
    """Score of a pair: 1 when the chosen answer is likelier, a half when both are equally likely."""
    return _order(_margin(answer))


def implicit_reward(task: Task, candidate: Iterable[Score], champion: Mapping[str, Score]) -> SuiteEvidence:
    """Evidence on the same pairs by DPO's implicit reward, log p_candidate - log p_champion (Rafailov et al. 2023).

    The champion's own reward is 0 for every answer, hence its score of a half.
    """
    paired = [
        PairedScore(
            item_id=score.item_id,
            cluster=score.cluster,
            candidate=_order(_margin(score.answer) - _margin(champion[score.item_id].answer)),
            champion=0.5,
        )
        for score in candidate
    ]
    return SuiteEvidence(
        suite="implicit_reward", suite_sha256=task_sha256(task), role=SuiteRole.REPORT, scores=tuple(paired)
    )


def _margin(answer: str) -> float:
    better, worse = json.loads(answer)
    return float(better - worse)


def _order(margin: float) -> float:
    return 0.5 if margin == 0 else float(margin > 0)


def _has_both(item: Item) -> bool:
    return bool(item.references and item.rejected)
