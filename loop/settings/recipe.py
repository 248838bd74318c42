"""Recipes: settings with the constants beside them, by flat names, as ids hash them and manifests keep them.

A constant is a part of what a snapshot or an adapter is made from, as a setting is: another value makes another id.
"""

from collections.abc import Mapping
from dataclasses import asdict

from loop.settings import constants
from loop.settings.sections import CurationSettings, TrainingSettings
from loop.types import Json

TABLES = ("pair", "unpaired", "edit")
"""Tables within `[training]`."""
CHOOSES_NOTHING: Mapping[str, Json] = {
    "micro_batch_tokens": 0,
    "layout": "tree",
    "autocast": "auto",
    "activation_checkpoints": False,
    "checkpoint_minutes": 5.0,
    "patience": 0,
    "look_every": 10,
    "processes": 1,
    "shard": False,
}
"""Settings of 0.1 that rules replaced, as they were by default: without them every job would have another id."""


def of_curation(settings: CurationSettings) -> dict[str, Json]:
    """Recipe of a snapshot: all that makes it beside its events."""
    return {
        **asdict(settings),
        "half_life_days": 0.0,  # weights do not age; 0.1 could let them, and hashed this
        "pairs_per_prompt": constants.PAIRS_PER_PROMPT,
        "near_duplicate": constants.NEAR_DUPLICATE,
        "max_chars": constants.MAX_CHARS,
    }


def of_training(settings: TrainingSettings) -> dict[str, Json]:
    """Recipe of an adapter: all that makes it beside its examples, base, parent and machine."""
    plain = {name: value for name, value in asdict(settings).items() if name not in TABLES}
    del plain["kl_coefficient"]
    return {
        **plain,
        "pair_loss": settings.pair.type,
        "beta": settings.pair.beta,
        "unpaired_loss": settings.unpaired.type,
        "edits": settings.edit.type,
        "anchor": settings.kl_coefficient,
        "warmup_share": constants.WARMUP_SHARE,
        "decay_share": constants.DECAY_SHARE,
        "average_share": constants.AVERAGE_SHARE,
        "disagreement": constants.DISAGREEMENT,
        "simpo_gap": constants.SIMPO_GAP,
        "chosen_nll": constants.CHOSEN_NLL,
        "desirable_nll": constants.DESIRABLE_NLL,
        "max_grad_norm": constants.MAX_GRAD_NORM,
        "weight_decay": constants.WEIGHT_DECAY,
    }


def hashed_training(settings: TrainingSettings) -> dict[str, Json]:
    """Recipe of an adapter as ids of jobs hash it."""
    return {**of_training(settings), **CHOOSES_NOTHING}
