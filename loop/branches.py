"""Branches of an example: the weight that their signed scores give it, and a selection of them."""

from collections.abc import Sequence
from typing import TypeVar

from loop.types import Branch

Answer = TypeVar("Answer")


def weight_of(branches: Sequence[Branch]) -> float:
    """Weight of an example with these branches: the smaller absolute score of its best and its worst branch."""
    return min(abs(branches[0].score), abs(branches[-1].score))


def spread(ordered: Sequence[Answer], most: int) -> tuple[Answer, ...]:
    """At most `most` (2 or more) of `ordered`, at even distances; the first and the last are among them."""
    if len(ordered) <= most:
        return tuple(ordered)
    step = (len(ordered) - 1) / (most - 1)
    return tuple(ordered[round(place * step)] for place in range(most))
