"""Rules that every example of a snapshot keeps, and the columns on which they are checked."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from loop.types import FeedbackKind, Json, Split

NEVER_NULL = ("example_id", "objective", "signal", "split", "cluster", "tenant", "conversation_id", "observed_at")
SHAPES = ("pair +-", "ranking +..-", "unpaired +", "unpaired -", "demonstration +")
"""Shapes of an example: its objective and the signs of its scores, of more than two branches the first and the last."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One expectation of a column."""

    kind: str
    """Class of the expectation in Great Expectations."""
    column: str
    failure: str
    """Sentence for its failure; the first {} is the number of failing rows, the second that of all rows."""
    arguments: Mapping[str, Json] = field(default_factory=dict)


_BETWEEN = "ExpectColumnValuesToBeBetween"


def _never_null(column: str) -> Rule:
    return Rule("ExpectColumnValuesToNotBeNull", column, f"{{}} of {{}} examples have no {column}.")


def _one_of(column: str, values: Iterable[str]) -> Rule:
    failure = f"{{}} of {{}} examples have an unknown {column}; required: one of {', '.join(values)}."
    return Rule("ExpectColumnValuesToBeInSet", column, failure, {"value_set": list(values)})


def _at_least(column: str, low: int, fault: str) -> Rule:
    return Rule(_BETWEEN, column, f"{{}} of {{}} examples {fault}.", {"min_value": low})


_PRESENT = tuple(_never_null(column) for column in NEVER_NULL)
_VALID = (
    Rule("ExpectColumnValuesToBeUnique", "example_id", "{} of {} examples share their id with another."),
    Rule(
        "ExpectColumnValueLengthsToEqual",
        "example_id",
        "{} of {} examples have an id that is not the 64 digits of a sha256.",
        {"value": 64},
    ),
    _one_of("split", Split),
    _one_of("signal", FeedbackKind),
    _one_of("shape", SHAPES),
    _at_least("turns", 1, "have an empty prompt"),
    _at_least("shortest_answer", 1, "have an empty answer"),
    Rule(
        _BETWEEN,
        "largest_rise",
        "{} of {} examples have a branch below a worse one; required: best first.",
        {"max_value": 0},
    ),
    _at_least("events", 2, "name fewer than the 2 events every example is made from"),
    Rule(
        _BETWEEN,
        "weight",
        "{} of {} examples have a weight that is not above 0.",
        {"min_value": 0, "strict_min": True},
    ),
    Rule(_BETWEEN, "largest_score", "{} of {} examples have a score that is not within -1 and 1.", {"max_value": 1}),
)
RULES = _PRESENT + _VALID
"""Rules that must hold for every example."""


def each(table: pl.DataFrame) -> pl.DataFrame:
    """A row for each example, with everything that can be judged without showing its texts."""
    branch = pl.element().struct
    answer = branch.field("response").struct
    scores = pl.col("branches").list.eval(branch.field("score"))
    # An answer may be a bare tool call, without any text.
    length = answer.field("content").str.strip_chars().str.len_chars() + answer.field("tool_calls").list.len()
    return table.select(
        list(NEVER_NULL),
        shape=pl.col("objective") + " " + _signs(scores),
        turns=pl.col("prompt").list.len(),
        shortest_answer=pl.col("branches").list.eval(length).list.min(),
        largest_rise=scores.list.diff().list.max().fill_null(0.0),
        weight=pl.min_horizontal(scores.list.first().abs(), scores.list.last().abs()),
        largest_score=scores.list.eval(pl.element().abs()).list.max(),
        events=pl.col("event_ids").list.len(),
    )


def _signs(scores: pl.Expr) -> pl.Expr:
    """Signs of a list of scores: `+-` of two, `+..-` of more."""
    signs = scores.list.eval(pl.when(pl.element() > 0).then(pl.lit("+")).otherwise(pl.lit("-")))
    ends = signs.list.first() + pl.lit("..") + signs.list.last()
    return pl.when(signs.list.len() > 2).then(ends).otherwise(signs.list.join(""))
