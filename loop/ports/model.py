"""A model that answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from loop.types import Message, Sampling


@dataclass(frozen=True, slots=True)
class Generation:
    """One generated answer."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    """Raw log-probability (temperature 1, no truncation) of each token, in nats."""


class Generator(Protocol):
    """A model that answers: a local one, or later an OpenAI-compatible server."""

    @property
    def fingerprint(self) -> str:
        """sha256 over the weights that answer (base and adapter); caches use it as a key."""

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
        """One answer per prompt, in order."""
