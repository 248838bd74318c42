"""Bounds of numbers that are measured on a snapshot as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from connectors.expectations.rules import Rule
from loop.counts import Count, counted
from loop.settings import ValidationSettings
from loop.settings.constants import MAX_NEAR_DUPLICATE_SHARE, MAX_UNDESIRABLE_SHARE
from loop.types import Objective, Split

FOREIGN = "The snapshot was altered or is another version's: make it again with `nightshift curate`."


@dataclass(frozen=True, slots=True)
class Bound:
    """A number measured on the whole snapshot, and the interval in which it has to lie."""

    name: str
    observed: float
    low: float | None
    high: float | None
    meaning: str
    """Meaning of the number, as people read it."""
    remedy: str = ""
    """Advice for a number outside the interval."""


def bounds_of(table: pl.DataFrame, settings: ValidationSettings, report: Mapping[str, int]) -> list[Bound]:
    """The bounds of everything that is judged on the snapshot as a whole."""
    train = table.filter(pl.col("split") == Split.TRAIN)
    return [
        _enough(train, settings.min_train_examples),
        _apart(table),
        _repeated(report),
        _held_back(report, settings.max_quarantined_share),
        _complaints(train),
    ]


def _enough(train: pl.DataFrame, fewest: int) -> Bound:
    remedy = "Wait for more feedback, or lower `min_train_examples` under [validation]."
    return Bound("train_examples", train.height, fewest, None, "train examples", remedy)


def _apart(table: pl.DataFrame) -> Bound:
    # A user in two splits would be trained on and judge what was trained.
    splits = table.group_by("tenant", "cluster").agg(pl.col("split").n_unique())
    mixed = splits.filter(pl.col("split") > 1).height
    return Bound("split_users", mixed, 0, 0, "users who are in more than one split", FOREIGN)


def _repeated(report: Mapping[str, int]) -> Bound:
    share = _share(counted(report, Count.NEAR_DUPLICATES), counted(report, Count.DRAFTS))
    remedy = (
        "Somebody repeats themselves, or the application fills in a template: look at the newest feedback and mend "
        "what sends it."
    )
    meaning = "share of drafts that were near duplicates"
    return Bound("near_duplicates", share, 0, MAX_NEAR_DUPLICATE_SHARE, meaning, remedy)


def _held_back(report: Mapping[str, int], most: float) -> Bound:
    share = _share(counted(report, Count.LAST_DAY_QUARANTINED), counted(report, Count.LAST_DAY))
    remedy = (
        "An attack, a launch or history imported at once: look at who gave it (`nightshift curate` counts them by "
        "day); if they are users, raise `burst_factor` under [curation]."
    )
    return Bound("quarantined", share, 0, most, "share of the last day's feedback in quarantine", remedy)


def _complaints(train: pl.DataFrame) -> Bound:
    unpaired = train.filter(pl.col("objective") == Objective.UNPAIRED).explode("branches")
    share = _share(unpaired.filter(pl.col("branches").struct.field("score") <= 0).height, train.height)
    remedy = (
        "From complaints alone a model learns what not to say: wait for approvals and edits, and see that the "
        "application sends them too."
    )
    meaning = "share of train examples that are complaints alone"
    return Bound("undesirable", share, 0, MAX_UNDESIRABLE_SHARE, meaning, remedy)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def whole(bounds: Sequence[Bound]) -> tuple[pl.DataFrame, Sequence[Rule]]:
    """The bounds as a suite: a table of one row, and a rule for each of its columns."""
    rules = [
        Rule(
            "ExpectColumnValuesToBeBetween",
            bound.name,
            f"{bound.meaning}: {bound.observed:.4g}; required: {_range(bound)}. {bound.remedy}".rstrip(),
            {"min_value": bound.low, "max_value": bound.high},
        )
        for bound in bounds
    ]
    return pl.DataFrame([{bound.name: float(bound.observed) for bound in bounds}]), rules


def _range(bound: Bound) -> str:
    return f"at most {bound.high:g}" if bound.high is not None else f"at least {bound.low:g}"
