"""When two examples are nearly the same: same question, same answers, a word or two apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from rensa import RMinHash, RMinHashLSH

from loop.types import Example, Message

PERMUTATIONS = 128
SEED = 1
RECALL = 0.999
"""Chance that a pair exactly at the threshold is looked at; nearer pairs have more."""
WORD = re.compile(r"\w+")

Grams = frozenset[str]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What an example says: its prompt without system messages, which all of an application share, and its answers."""

    prompt: tuple[Message, ...]
    answers: tuple[Message, ...]
    sketch: RMinHash = field(compare=False, repr=False)
    """Of the 3-grams of all parts, tagged by part: similar in every part means similar as a whole."""


def exchange(example: Example) -> Exchange:
    """What an example says."""
    spoken = tuple(message for message in example.prompt if message.role != "system")
    answers = tuple(branch.response for branch in example.branches)
    sketch = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    for part, messages in enumerate((spoken, *((answer,) for answer in answers))):
        sketch.update([f"{part} {gram}" for gram in _grams(messages)])
    return Exchange(spoken, answers, sketch)


def similar(one: Exchange, other: Exchange, threshold: float) -> bool:
    """Whether prompt with prompt and answer with answer each have a Jaccard similarity of at least `threshold`.

    Each for itself, because two turns of one conversation share most of their prompt. Sets of word 3-grams.
    """
    if len(one.answers) != len(other.answers):
        return False
    answers = zip(one.answers, other.answers, strict=True)
    return all(_jaccard(_grams((a,)), _grams((b,))) >= threshold for a, b in answers) and (
        one.prompt == other.prompt or _jaccard(_grams(one.prompt), _grams(other.prompt)) >= threshold
    )


class Neighbours:
    """Exchanges that can be asked which of them are similar to another (R-MinHash LSH, then verified)."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._known: list[Exchange] = []
        self._index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=_bands(threshold))

    def add(self, new: Exchange) -> None:
        self._index.insert(len(self._known), new.sketch)
        self._known.append(new)

    def of(self, asked: Exchange) -> Iterator[Exchange]:
        """The similar ones, in the order they were added."""
        near = (self._known[position] for position in sorted(self._index.query(asked.sketch)))
        return (known for known in near if similar(known, asked, self._threshold))


@lru_cache(maxsize=256)
def _grams(messages: tuple[Message, ...]) -> Grams:
    said = [part for m in messages for part in (m.content, *(f"{c.name} {c.arguments}" for c in m.tool_calls))]
    words = WORD.findall(" ".join(said).lower())
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False))) or frozenset([" ".join(words)])


def _jaccard(one: Grams, other: Grams) -> float:
    return len(one & other) / len(one | other)


def _bands(threshold: float) -> int:
    """The fewest bands b of r = PERMUTATIONS / b rows with recall 1 - (1 - t^r)^b of at least RECALL."""
    options = (2**n for n in range(8))
    return next((b for b in options if 1 - (1 - threshold ** (PERMUTATIONS // b)) ** b >= RECALL), PERMUTATIONS)
