"""Examples with one prompt from one user become one item."""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby

from evals.scorers import check
from evals.task import Item
from loop.canonical import digest
from loop.settings import EvaluationSettings
from loop.types import Branch, Example, Sampling


def items(examples: Iterable[Example], keep: Callable[[Item], bool], limit: int) -> tuple[Item, ...]:
    """The newest `limit` items that `keep` takes, ordered by id, one per prompt and cluster; 0 takes all.

    Answers without text (bare tool calls) are no references, verifiers that are malformed are left out.
    """
    keyed = sorted(((identity(example), example) for example in examples), key=lambda pair: pair[0])
    groups = [[example for _, example in group] for _, group in groupby(keyed, key=lambda pair: pair[0])]
    made = [(max(example.observed_at for example in group), _item(group)) for group in groups]
    newest = sorted(((at, item) for at, item in made if keep(item)), key=lambda pair: (pair[0], pair[1].item_id))
    return tuple(sorted((item for _, item in newest[-limit:]), key=lambda item: item.item_id))


def recent(examples: Sequence[Example], days: float) -> tuple[Example, ...]:
    """Those of the last `days` before the newest one; 0 for all."""
    if not days or not examples:
        return tuple(examples)
    since = max(example.observed_at for example in examples) - timedelta(days=days)
    return tuple(example for example in examples if example.observed_at > since)


def greedy(settings: EvaluationSettings) -> Sampling:
    """How every suite draws its answers."""
    return Sampling(temperature=0.0, max_tokens=settings.max_new_tokens, seed=0)


def identity(example: Example) -> str:
    """The id of the item an example belongs to."""
    return digest({"tenant": example.tenant, "cluster": example.cluster, "prompt": example.prompt})[:16]


def _item(examples: list[Example]) -> Item:
    first = examples[0]
    ordered = sorted(examples, key=lambda example: (example.observed_at, example.example_id))
    branches = [branch for example in ordered for branch in example.branches]
    verifiers = dict.fromkeys(verifier for example in ordered for verifier in example.verifiers)
    return Item(
        item_id=identity(first),
        cluster=first.cluster,
        prompt=first.prompt,
        verifiers=tuple(verifier for verifier in verifiers if check(verifier, "") is not None),
        references=_texts(branches, desirable=True),
        rejected=_texts(branches, desirable=False),
    )


def _texts(branches: list[Branch], *, desirable: bool) -> tuple[str, ...]:
    chosen = [branch.response for branch in branches if branch.desirable is desirable]
    return tuple(dict.fromkeys(r.content for r in chosen if r.content.strip() and not r.tool_calls))
