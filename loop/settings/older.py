"""Keys of earlier versions: where each has gone, and the same sections in today's keys."""

from collections.abc import Mapping
from dataclasses import dataclass

from loop.machine import BY_RULE
from loop.settings import constants
from loop.types import Json

MOVED: Mapping[str, str] = {
    "training.pair_loss": "training.pair.type",
    "training.beta": "training.pair.beta",
    "training.unpaired_loss": "training.unpaired.type",
    "training.edits": "training.edit.type",
    "training.anchor": "training.kl_coefficient",
}
"""Keys with another name today, which take the same values."""
FIXED: Mapping[str, Json] = {
    "curation.pairs_per_prompt": constants.PAIRS_PER_PROMPT,
    "curation.near_duplicate": constants.NEAR_DUPLICATE,
    "curation.max_chars": constants.MAX_CHARS,
    "validation.max_near_duplicate_share": constants.MAX_NEAR_DUPLICATE_SHARE,
    "validation.max_undesirable_share": constants.MAX_UNDESIRABLE_SHARE,
    "training.warmup_share": constants.WARMUP_SHARE,
    "training.decay_share": constants.DECAY_SHARE,
    "training.average_share": constants.AVERAGE_SHARE,
    "training.disagreement": constants.DISAGREEMENT,
    "training.simpo_gap": constants.SIMPO_GAP,
    "training.chosen_nll": constants.CHOSEN_NLL,
    "training.desirable_nll": constants.DESIRABLE_NLL,
    "training.max_grad_norm": constants.MAX_GRAD_NORM,
    "training.weight_decay": constants.WEIGHT_DECAY,
    "training.checkpoint_minutes": BY_RULE.checkpoint_minutes,
    "evaluation.max_pairs": BY_RULE.max_pairs,
    "evaluation.batch_prompts": BY_RULE.batch_prompts,
    "log.compression": constants.COMPRESSION,
    "log.session_seconds": constants.SESSION_SECONDS,
    "log.batch_events": BY_RULE.batch_events,
}
"""Keys whose value is the same for everybody today."""
CHOSEN: Mapping[str, str] = {
    "training.micro_batch_tokens": "from model, data, processor and installed memory",
    "training.layout": "a tree, where the model's attention allows it",
    "training.autocast": "bfloat16, where the processor computes in it natively",
    "training.activation_checkpoints": "where the longest example would not fit into memory without",
    "training.processes": "one for each GPU, one on a machine without",
    "training.shard": "where the frozen weights do not fit into one process's memory",
}
"""Keys whose value a rule chooses today, and the rule."""
GONE: Mapping[str, str] = {
    "curation.half_life_days": "it made nothing better; `window_days` and `max_examples` keep what is old out",
    "training.patience": "a training ends with its steps or its budget, and leaves the mean of its last adapters",
    "training.look_every": "a training no longer looks at the dev split",
}
"""Keys of features that are gone, and why."""


@dataclass(frozen=True, slots=True)
class Older:
    """A key of an earlier version that somebody has set."""

    key: str
    value: object
    said: str
    """Replacement of the key, or the reason why it is gone, as a sentence without its full stop."""

    @property
    def changes(self) -> bool:
        """Whether something else is done today than the value asks for."""
        return self.key not in MOVED and FIXED.get(self.key) != self.value


def translated(sections: Mapping[str, Json]) -> tuple[dict[str, Json], tuple[Older, ...]]:
    """The sections of a settings file with today's keys alone, and the older keys that were in them.

    Where a key is given under both names, today's counts.
    """
    found: list[Older] = []
    today: dict[str, Json] = {}
    for section, values in sections.items():
        if not isinstance(values, Mapping):  # wrong, and said to be so where all sections are checked
            today[section] = values
            continue
        kept: dict[str, Json] = {}
        today[section] = kept
        renamed: dict[str, Json] = {}
        for name, value in values.items():
            key = f"{section}.{name}"
            if (said := fate(key)) is None:
                kept[name] = value
                continue
            found.append(Older(key, value, said))
            if key in MOVED:
                renamed[MOVED[key]] = value
        for key, value in renamed.items():
            _set_absent(today, key.split("."), value)
    return today, tuple(found)


def fate(key: str) -> str | None:
    """Replacement of `section.key`, or why it is gone, as a sentence without full stop; None for no older key."""
    if key in MOVED:
        also = f" (that of bco and kto is fixed at {constants.UNPAIRED_BETA})" if key == "training.beta" else ""
        return f"{key} is {MOVED[key]} now{also}"
    if key in FIXED:
        return f"{key} is fixed at {FIXED[key]} now"
    if key in CHOSEN:
        return f"{key} is chosen by rule now: {CHOSEN[key]}"
    if key in GONE:
        return f"{key} is gone: {GONE[key]}"
    return None


def _set_absent(sections: dict[str, Json], path: list[str], value: Json) -> None:
    """Set the value at `path`, unless there is one; the tables on the way are copied, as they may be the caller's."""
    *tables, name = path
    at = sections
    for table in tables:
        inner = at.get(table, {})
        if not isinstance(inner, Mapping):
            return
        copied = dict(inner)
        at[table] = copied
        at = copied
    at.setdefault(name, value)
