"""Items of a suite: the examples with one prompt from one user make one item."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from evals.scorers import check
from evals.task import Item
from loop.hashing import digest
from loop.settings import EvaluationSettings
from loop.types import Example, Message, Sampling


def items(examples: Iterable[Example], keep: Callable[[Item], bool], limit: int) -> tuple[Item, ...]:
    """The newest `limit` items that `keep` accepts, one per prompt and cluster, in the order of ids; 0 takes all.

    Answers without text (bare tool calls) are no references; malformed verifiers are left out.
    """
    keyed = sorted(((identity(example), example) for example in examples), key=lambda pair: pair[0])
    dated: list[tuple[datetime, Item]] = []
    for _, group in groupby(keyed, key=lambda pair: pair[0]):
        alike = [example for _, example in group]
        item = _item(alike)
        if keep(item):
            dated.append((max(example.observed_at for example in alike), item))
    # The id decides between items of one time, so that a suite does not depend on the order of the examples.
    dated.sort(key=lambda pair: (pair[0], pair[1].item_id))
    # A limit of 0 takes all, because [-0:] is the whole list.
    return tuple(sorted((item for _, item in dated[-limit:]), key=lambda item: item.item_id))


def recent(examples: Sequence[Example], days: float) -> tuple[Example, ...]:
    """The examples of the last `days` before the newest one; 0 for all."""
    # Counted from the newest example and not from today: old logs have a window too.
    if not days or not examples:
        return tuple(examples)
    since = max(example.observed_at for example in examples) - timedelta(days=days)
    return tuple(example for example in examples if example.observed_at > since)


def greedy(settings: EvaluationSettings) -> Sampling:
    """The sampling with which every suite draws its answers: greedy."""
    return Sampling(temperature=0.0, max_tokens=settings.max_new_tokens, seed=0)


def identity(example: Example) -> str:
    """The id of the item an example belongs to."""
    return digest({"tenant": example.tenant, "cluster": example.cluster, "prompt": example.prompt})[:16]


def _item(examples: list[Example]) -> Item:
    first = examples[0]
    # Oldest first, so that the last reference is the newest.
    ordered = sorted(examples, key=lambda example: (example.observed_at, example.example_id))
    better: list[Message] = []
    worse: list[Message] = []
    for example in ordered:
        # The last of the better ones is the best of the newest example, the last of the worse ones its worst.
        better += [branch.response for branch in reversed(example.branches) if branch.score > 0]
        worse += [branch.response for branch in example.branches if branch.score < 0]
    # Dicts keep the order and drop repetitions; a set would have another order in each process.
    verifiers = dict.fromkeys(verifier for example in ordered for verifier in example.verifiers)
    return Item(
        item_id=identity(first),
        cluster=first.cluster,
        prompt=first.prompt,
        # Whether a verifier is malformed does not depend on the answer.
        verifiers=tuple(verifier for verifier in verifiers if check(verifier, "") is not None),
        references=_texts(better),
        rejected=_texts(worse),
    )


def _texts(answers: Iterable[Message]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each.content for each in answers if each.content.strip() and not each.tool_calls))
