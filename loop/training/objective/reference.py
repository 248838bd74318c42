"""The champion's log-probabilities, with which losses compare: computed when a batch first needs them, kept on disk.

Computed before step 0 they would spend a wall-clock budget on examples that the training may never reach.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from peft import PeftModel

from loop.cache import read_cache, write_cache
from loop.hashing import digest
from loop.training import ranks
from loop.training.batch.tokens import Encoded
from loop.training.forward.logps import Scorer, score
from loop.training.weights.adapters import put, trainable
from loop.types import Objective

SAVE_SECONDS = 15.0
"""Seconds between two writes of the file while a training runs."""


class Reference:
    """The champion: a frozen copy of the adapter as it is at the start, over the same base model.

    `file` keeps log-probabilities by token ids, so its name has to identify everything else that they depend on.
    """

    def __init__(self, model: PeftModel, scorer: Scorer, file: Path) -> None:
        self._model, self._kept = model, _copied(model)
        self._scorer, self._file = scorer, file
        self._known: dict[str, float] = read_cache(file)
        self._saved_at = time.monotonic()

    def logps(self, examples: Sequence[Encoded], budget: int) -> list[tuple[float, ...]]:
        """Log-probabilities of each example's answers under the champion; 0 for demonstrations, which are not compared.

        `budget` is the size of a forward pass in tokens. Processes exchange the values they compute, so all of them
        have to call this equally often.
        """
        missing = [example for example in examples if self._is_missing(example)]
        groups = self._scorer.passes(missing, budget) if missing else []
        work: list[Sequence[Encoded]] = []  # the examples of each pass
        for group in groups:
            batch = [missing[i] for i in group]
            work.append(batch)
        turns = ranks.turns(work, examples[:1], together=self._scorer.sharded)
        found = self._computed(turns)
        for theirs in ranks.everyones(found):
            for key, logp in theirs.items():
                # A value that is known stays: another pass rounds it differently, and a resumed training has seen it.
                self._known.setdefault(key, logp)
        if found and time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()
        logps: list[tuple[float, ...]] = []
        for example in examples:
            if _compared(example):
                logps.append(tuple(self._known[key] for key in _keys(example)))
            else:
                logps.append((0.0,) * len(example.answers))
        return logps

    def save(self) -> None:
        """Write all known values; a resumed training needs those that its checkpoint's steps have seen."""
        write_cache(self._file, self._known)
        self._saved_at = time.monotonic()

    def _is_missing(self, example: Encoded) -> bool:
        return _compared(example) and any(key not in self._known for key in _keys(example))

    def _computed(self, turns: Sequence[tuple[Sequence[Encoded], bool]]) -> dict[str, float]:
        """Log-probability of each answer by its key, computed under the champion in one pass per turn."""
        found: dict[str, float] = {}
        if not turns:  # nothing to compute: the adapter can stay in its place
            return found
        with self._restored(), torch.no_grad():
            for batch, counts in turns:
                logps = score(self._scorer, batch).logp.tolist()  # [answers of the pass], examples in order
                # A filler's values do not count: they would replace those of another pass, which rounds differently.
                if not counts:
                    continue
                keys: list[str] = []
                for example in batch:
                    keys.extend(_keys(example))
                found.update(zip(keys, logps, strict=True))
        return found

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """Put the champion in place of the adapter in training while the block runs."""
        trained = _copied(self._model)
        put(self._model, self._kept)
        try:
            yield
        finally:
            put(self._model, trained)


def _copied(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


def _compared(example: Encoded) -> bool:
    """Whether the loss of `example` compares with the champion: that of a demonstration is its NLL alone."""
    return example.credit.objective is not Objective.DEMONSTRATION


def _keys(example: Encoded) -> list[str]:
    """Hash of prompt and answer, for each answer of `example`; an answer in several examples has one."""
    return [digest([example.prompt, answer.ids]) for answer in example.answers]
