"""Last step of curation: a cap on the examples of each user, and the newest train examples that there is time for."""

from collections import Counter
from collections.abc import Iterable

from loop.types import Example, Split


def cap_users(examples: Iterable[Example], cap: int) -> tuple[list[Example], int]:
    """The newest `cap` examples of each user (0: all of them), and the number of the others."""
    newest, seen = sorted(examples, key=oldest_first, reverse=True), Counter[tuple[str, str]]()
    kept = []
    for example in newest:
        seen[example.tenant, example.cluster] += 1
        if not cap or seen[example.tenant, example.cluster] <= cap:
            kept.append(example)
    return kept, len(newest) - len(kept)


def newest_train(examples: Iterable[Example], limit: int, replay: float = 0.0) -> tuple[list[Example], int]:
    """All held-out examples and `limit` train examples (0: all), oldest first, and the number of those left out.

    A share of `replay` of the train examples is drawn by id from older ones with an approved answer; the rest are the
    newest.
    """
    ordered = sorted(examples, key=oldest_first)
    train = [example for example in ordered if example.split is Split.TRAIN]
    if not limit or len(train) <= limit:
        return ordered, 0
    approved = [example for example in train[:-limit] if example.branches[0].score > 0]
    # Ids are hashes of the content: their order is a draw that any machine and any night repeats.
    replayed = sorted(approved, key=lambda example: example.example_id)[: round(replay * limit)]
    recent = train[len(train) - limit + len(replayed) :]
    kept = {example.example_id for example in replayed + recent}
    chosen = [example for example in ordered if example.split is not Split.TRAIN or example.example_id in kept]
    return chosen, len(ordered) - len(chosen)


def oldest_first(example: Example) -> tuple[float, str]:
    """Sort key of the canonical order of examples; the id decides between equal times."""
    return example.observed_at.timestamp(), example.example_id
