"""Seventh step of curation: repeats of one user are removed, and train examples that copy held-out ones."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from loop.counts import Count
from loop.curation.kinds import STRENGTH
from loop.curation.similar import Exchange, Neighbours, exchange
from loop.types import Example, Split

COMMON = 3
"""Train users who had an exchange from which it counts as common, not as a leak of one user's held-out text."""


def without_repeats(examples: Iterable[Example], threshold: float) -> tuple[list[Example], Counter[Count]]:
    """Examples without repeats of one user under one objective, and the counts of exact and near ones removed.

    The same question from many users is signal, from one user it is not. Of repeats the strongest, newest one stays.
    Examples with a similarity of at least `threshold` are near duplicates; at 1 only exact ones are removed.
    """
    groups: dict[object, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=_precedence):
        groups[example.tenant, example.cluster, example.objective].append(example)
    # Exact ones first: they cost a look into a table, near ones a comparison of sketches.
    exact = [_distinct(group) for group in groups.values()]
    kept = [_dissimilar(group, threshold) for group in exact] if threshold < 1 else exact
    every, once, left = _total(groups.values()), _total(exact), _total(kept)
    counts = Counter({Count.EXACT_DUPLICATES: every - once, Count.NEAR_DUPLICATES: once - left})
    return [example for group in kept for example in group], counts


def decontaminate(examples: Iterable[Example], threshold: float) -> tuple[list[Example], int]:
    """Examples without train ones that nearly equal a held-out one in prompt and answers, and the number removed.

    Exchanges that COMMON or more train users had stay: otherwise no training would see what everybody asks.
    """
    said = [(example, exchange(example)) for example in examples]
    held_out = _neighbours((text for example, text in said if example.split is not Split.TRAIN), threshold)
    train = _neighbours((text for example, text in said if example.split is Split.TRAIN), threshold)
    users: dict[Exchange, set[str]] = defaultdict(set)
    for example, text in said:
        if example.split is Split.TRAIN:
            users[text].add(f"{example.tenant}/{example.cluster}")
    leaked = {text for text in users if any(held_out.of(text)) and not _is_common(text, train, users)}
    kept = [example for example, text in said if example.split is not Split.TRAIN or text not in leaked]
    return kept, len(said) - len(kept)


def _total(groups: Iterable[Sequence[Example]]) -> int:
    return sum(len(group) for group in groups)


def _neighbours(exchanges: Iterable[Exchange], threshold: float) -> Neighbours:
    neighbours = Neighbours(threshold)
    for distinct in dict.fromkeys(exchanges):  # each once, in their order
        neighbours.add(distinct)
    return neighbours


def _is_common(text: Exchange, train: Neighbours, users: Mapping[Exchange, set[str]]) -> bool:
    had_it: set[str] = set()
    for alike in train.of(text):
        had_it |= users[alike]
        if len(had_it) >= COMMON:
            return True
    return False


def _precedence(example: Example) -> tuple[int, float, str]:
    """Sort key that puts the strongest and newest first; the id decides between equals, so that order is settled."""
    return STRENGTH.index(example.signal), -example.observed_at.timestamp(), example.example_id


def _distinct(examples: Sequence[Example]) -> list[Example]:
    found: dict[object, Example] = {}
    for example in examples:
        found.setdefault((example.prompt, frozenset(branch.response for branch in example.branches)), example)
    return list(found.values())


def _dissimilar(examples: Sequence[Example], threshold: float) -> list[Example]:
    kept, seen = [], Neighbours(threshold)
    for example in examples:
        said = exchange(example)
        if not any(seen.of(said)):
            seen.add(said)
            kept.append(example)
    return kept
