"""Last step of curation: no user counts too often, and training gets the newest examples it has time for."""

from collections import Counter
from collections.abc import Iterable

from loop.types import Example, Split


def cap_users(examples: Iterable[Example], cap: int) -> tuple[list[Example], int]:
    """The newest `cap` examples of each user, and how many there were beyond them; 0 is no cap."""
    newest, seen = sorted(examples, key=oldest_first, reverse=True), Counter[tuple[str, str]]()
    kept = []
    for example in newest:
        seen[example.tenant, example.cluster] += 1
        if not cap or seen[example.tenant, example.cluster] <= cap:
            kept.append(example)
    return kept, len(newest) - len(kept)


def newest_train(examples: Iterable[Example], limit: int, replay: float = 0.0) -> tuple[list[Example], int]:
    """Everything held out and `limit` train examples, oldest first, and how many were too many; 0 is all.

    They are the newest but for a share of `replay`, drawn by their ids from older ones with an approved answer.
    """
    ordered = sorted(examples, key=oldest_first)
    train = [example for example in ordered if example.split is Split.TRAIN]
    if not limit or len(train) <= limit:
        return ordered, 0
    approved = [example for example in train[:-limit] if example.branches[0].desirable]
    replayed = sorted(approved, key=lambda example: example.example_id)[: round(replay * limit)]
    kept = {example.example_id for example in [*replayed, *train[len(train) - limit + len(replayed) :]]}
    chosen = [example for example in ordered if example.split is not Split.TRAIN or example.example_id in kept]
    return chosen, len(ordered) - len(chosen)


def oldest_first(example: Example) -> tuple[float, str]:
    """The canonical order of examples."""
    return example.observed_at.timestamp(), example.example_id
