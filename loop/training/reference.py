"""The champion's log-probabilities of every answer a loss compares with: taken once before step 0, kept on disk."""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from loop.canonical import digest
from loop.training.logps import Scorer, score
from loop.training.schedule import micro_batches
from loop.training.tokens import Encoded
from loop.types import Objective

SAVE_SECONDS = 15.0
log = logging.getLogger(__name__)


def reference_logps(scorer: Scorer, examples: Sequence[Encoded], file: Path, budget: int) -> list[tuple[float, ...]]:
    """Log-probability of each example's answers under `scorer`, which must still be the champion; 0 where unused.

    `file` keeps them by token ids, so its name has to say everything else that they depend on. An interrupted pass
    goes on where it was last saved.
    """
    known = _read(file)
    missing = [e for e in examples if _compared(e) and any(key not in known for key in _keys(e))]
    started = saved = time.monotonic()
    done = 0
    for group in micro_batches([example.size for example in missing], budget):
        batch = [missing[index] for index in group]
        with torch.inference_mode():
            logps = score(scorer, batch).logp.tolist()
        known.update(zip((key for example in batch for key in _keys(example)), logps, strict=True))
        done += len(batch)
        if time.monotonic() - saved > SAVE_SECONDS:
            saved = time.monotonic()
            _write(file, known)
            log.info("reference: %d of %d examples, %.0f s", done, len(missing), saved - started)
    if missing:
        _write(file, known)
    return [_known(example, known) for example in examples]


def _compared(example: Encoded) -> bool:
    return example.objective is not Objective.DEMONSTRATION


def _known(example: Encoded, known: Mapping[str, float]) -> tuple[float, ...]:
    if not _compared(example):
        return (0.0,) * len(example.answers)
    return tuple(known[key] for key in _keys(example))


def _keys(example: Encoded) -> list[str]:
    return [digest([example.prompt, answer.ids]) for answer in example.answers]


def _read(file: Path) -> dict[str, float]:
    return dict(json.loads(file.read_text())) if file.exists() else {}


def _write(file: Path, known: Mapping[str, float]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    building = file.with_suffix(".part")
    building.write_text(json.dumps(known))
    building.replace(file)
