"""The champion's log-probabilities, which losses compare with: taken when a batch first needs them, kept on disk.

Taken ahead of step 0 they would spend a wall-clock budget on examples which the training may never reach.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import torch
from peft import PeftModel

from loop.cache import read_cache, write_cache
from loop.canonical import digest
from loop.training import ranks
from loop.training.batch.tokens import Encoded
from loop.training.forward.logps import Scorer, score
from loop.training.weights.adapters import put, trainable
from loop.types import Objective

SAVE_SECONDS = 15.0


class Reference:
    """A frozen copy of the adapter as it is now, over the same base model.

    `file` keeps log-probabilities by token ids, so its name has to say everything else that they depend on.
    """

    def __init__(self, model: PeftModel, scorer: Scorer, file: Path) -> None:
        self._model, self._kept = model, _copied(model)
        self._scorer, self._file = scorer, file
        self._known: dict[str, float] = read_cache(file)
        self._saved_at = time.monotonic()

    def logps(self, examples: Sequence[Encoded], budget: int) -> list[tuple[float, ...]]:
        """Log-probability of each example's answers under the copy; 0 where the objective compares with nothing.

        `budget` is the tokens of one forward pass. Processes share what they find, so all have to ask equally often;
        what is known stays as it is, for another pass would round it otherwise.
        """
        missing = [e for e in examples if _compared(e) and any(key not in self._known for key in _keys(e))]
        groups = self._scorer.passes(missing, budget) if missing else []
        work = [[missing[i] for i in group] for group in groups]
        turns = ranks.turns(work, examples[:1], together=self._scorer.sharded)
        found: dict[str, float] = {}
        if turns:
            with self._restored(), torch.no_grad():
                for batch, counts in turns:
                    logps = score(self._scorer, batch).logp.tolist()
                    if counts:
                        found |= zip(chain.from_iterable(map(_keys, batch)), logps, strict=True)
        for key, logp in chain.from_iterable(each.items() for each in ranks.everyones(found)):
            self._known.setdefault(key, logp)
        if found and time.monotonic() - self._saved_at > SAVE_SECONDS:
            self.save()
        return [self._logps(example) for example in examples]

    def save(self) -> None:
        """Write all that is known; a resumed training needs what its checkpoint's steps have seen."""
        write_cache(self._file, self._known)
        self._saved_at = time.monotonic()

    def _logps(self, example: Encoded) -> tuple[float, ...]:
        if not _compared(example):
            return (0.0,) * len(example.answers)
        return tuple(self._known[key] for key in _keys(example))

    @contextmanager
    def _restored(self) -> Iterator[None]:
        """The copy in place of the adapter in training."""
        trained = _copied(self._model)
        put(self._model, self._kept)
        try:
            yield
        finally:
            put(self._model, trained)


def _copied(model: PeftModel) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in trainable(model).items()}


def _compared(example: Encoded) -> bool:
    return example.objective is not Objective.DEMONSTRATION


def _keys(example: Encoded) -> list[str]:
    return [digest([example.prompt, answer.ids]) for answer in example.answers]
