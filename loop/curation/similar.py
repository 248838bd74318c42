"""Near duplicates: examples with the same question and the same answers, a word or two apart."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from rensa import RMinHash, RMinHashLSH

from loop.types import Example, Message

PERMUTATIONS = 128
SEED = 1
RECALL = 0.999
"""Chance that a pair exactly at the threshold is found; for more similar pairs it is higher."""
WORD = re.compile(r"\w+")

Grams = frozenset[str]


@dataclass(frozen=True, slots=True)
class Exchange:
    """Content of an example: its answers, and its prompt without system messages, which all of an application share."""

    prompt: tuple[Message, ...]
    answers: tuple[Message, ...]
    sketch: RMinHash = field(compare=False, repr=False)
    """MinHash of the 3-grams of all parts, tagged by part: similar in every part means similar as a whole."""


def exchange(example: Example) -> Exchange:
    """Content of an example, with its sketch."""
    spoken = tuple(message for message in example.prompt if message.role != "system")
    answers = tuple(branch.response for branch in example.branches)
    sketch = RMinHash(num_perm=PERMUTATIONS, seed=SEED)
    parts = [spoken]
    parts += [(answer,) for answer in answers]
    for part, messages in enumerate(parts):
        sketch.update([f"{part} {gram}" for gram in _grams(messages)])
    return Exchange(spoken, answers, sketch)


def similar(one: Exchange, other: Exchange, threshold: float) -> bool:
    """Whether the prompts, and each pair of answers, have a Jaccard similarity of at least `threshold`.

    The sets compared are word 3-grams. Parts are compared one by one: two turns of one conversation share most of their
    prompt.
    """
    if len(one.answers) != len(other.answers):
        return False
    answers = zip(one.answers, other.answers, strict=True)
    return all(_jaccard(_grams((a,)), _grams((b,))) >= threshold for a, b in answers) and (
        one.prompt == other.prompt or _jaccard(_grams(one.prompt), _grams(other.prompt)) >= threshold
    )


class Neighbours:
    """A set of exchanges, searched for those similar to another one (R-MinHash LSH, then verified)."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._known: list[Exchange] = []
        self._index = RMinHashLSH(threshold=threshold, num_perm=PERMUTATIONS, num_bands=_bands(threshold))

    def add(self, new: Exchange) -> None:
        self._index.insert(len(self._known), new.sketch)
        self._known.append(new)

    def of(self, asked: Exchange) -> Iterator[Exchange]:
        """Known exchanges similar to `asked`, in the order in which they were added."""
        # The index compares sketches, which also match by chance: each find is verified on the full sets.
        near = (self._known[position] for position in sorted(self._index.query(asked.sketch)))
        return (known for known in near if similar(known, asked, self._threshold))


@lru_cache(maxsize=256)
def _grams(messages: tuple[Message, ...]) -> Grams:
    said = []
    for message in messages:
        said.append(message.content)
        said += [f"{call.name} {call.arguments}" for call in message.tool_calls]
    words = WORD.findall(" ".join(said).lower())
    # Texts of fewer than three words have no 3-gram and count as one gram, so that no set is empty.
    return frozenset(map(" ".join, zip(words, words[1:], words[2:], strict=False))) or frozenset([" ".join(words)])


def _jaccard(one: Grams, other: Grams) -> float:
    return len(one & other) / len(one | other)


def _bands(threshold: float) -> int:
    """The smallest number b of bands of r = PERMUTATIONS / b rows whose recall 1 - (1 - t^r)^b reaches RECALL."""
    options = (2**n for n in range(8))
    return next((b for b in options if 1 - (1 - threshold ** (PERMUTATIONS // b)) ** b >= RECALL), PERMUTATIONS)
