"""The Great Expectations suite between snapshot and training, with failures that can be understood at 3 a.m.

Data Docs and failures hold counts, bounds and names of columns, never a value: feedback may contain anything.
"""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import polars as pl

from loop.counts import Count, counted
from loop.curation.snapshot import SCHEMA, table_of
from loop.errors import NotFoundError
from loop.imports import collector_off, postponed
from loop.settings import ValidationSettings
from loop.settings.constants import MAX_NEAR_DUPLICATE_SHARE, MAX_UNDESIRABLE_SHARE
from loop.types import FeedbackKind, Json, Objective, Split, Validation

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations import Expectation

NEVER_NULL = ("example_id", "objective", "signal", "split", "cluster", "tenant", "conversation_id", "observed_at")
SHAPES = ("pair +-", "ranking +..-", "unpaired +", "unpaired -", "demonstration +")
"""Shapes of an example: its objective and the signs of its scores, of more than two branches the first and the last."""
# Data Docs write failing values raw into the page, where a <script> in somebody's feedback would run.
COUNTS_ONLY = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
FOREIGN = "The snapshot was altered or is another version's: make it again with `nightshift curate`."
UNUSED = ("altair", "boto3", "scipy.stats")
"""Modules that Great Expectations imports for charts, for buckets and for distributions."""
FAILURE = "failure"
"""Key of the sentence for a failure, in the metadata of its expectation."""


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

Suite = tuple[pl.DataFrame, Sequence[Rule]]
"""A table and the rules that it has to keep."""


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


def validate(folder: Path, settings: ValidationSettings, report: Mapping[str, int], docs: Path) -> Validation:
    """Judge whether the snapshot in `folder` may be trained on, and write Data Docs under `docs`.

    `report` counts what curation dropped and held back. Raises NotFoundError when `folder` lacks a table.
    """
    tables = [_read(folder / f"{split}.parquet") for split in Split]
    foreign = sum(_differences(table) for table in tables)
    schema = Bound("foreign_columns", foreign, 0, 0, "columns whose name or type is not a snapshot's", FOREIGN)
    # The other rules read the columns by name: on a foreign table they would end in an exception, not in a sentence.
    if foreign:
        suites = {"snapshot": _whole([schema])}
    else:
        table = pl.concat(tables)
        bounds = _bounds(table, settings, report)
        bounds.insert(0, schema)
        suites = {"snapshot": _whole(bounds), "examples": (_each(table), RULES)}
    with collector_off():
        failures = _run(suites, docs)
    return Validation(snapshot_id=folder.name, passed=not failures, failures=tuple(failures), docs=str(docs))


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a snapshot that `nightshift curate` made")
    return table_of(path.read_bytes())


def _differences(table: pl.DataFrame) -> int:
    """Number of columns that are absent, unknown or of another type."""
    return sum(table.schema.get(name) != SCHEMA.get(name) for name in set(table.schema) | set(SCHEMA))


def _bounds(table: pl.DataFrame, settings: ValidationSettings, report: Mapping[str, int]) -> list[Bound]:
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


def _whole(bounds: Sequence[Bound]) -> Suite:
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


def _each(table: pl.DataFrame) -> pl.DataFrame:
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


def _run(suites: Mapping[str, Suite], docs: Path) -> list[str]:
    """Run all suites, write their results as pages under `docs` and return the failures."""
    gx = _great_expectations()
    # Ephemeral, and without the default site: nothing but the pages under `docs` is to stay on disk.
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.delete_data_docs_site("local_site")
    context.add_data_docs_site(site_name="data_docs", site_config=_site(docs))
    source = context.data_sources.add_pandas("snapshot")
    failures = []
    for name, (table, rules) in suites.items():
        expectations = [_expectation(gx, rule) for rule in rules]
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        checkpoint = gx.Checkpoint(
            name=name,
            validation_definitions=[context.validation_definitions.add(definition)],
            actions=[gx.checkpoint.UpdateDataDocsAction(name="data_docs")],
            result_format=COUNTS_ONLY,
        )
        outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": table.to_pandas()})
        for run in outcome.run_results.values():
            failures += [_failure(result) for result in run.results if not result.success]
    return sorted(failures)


def _expectation(gx: ModuleType, rule: Rule) -> "Expectation":
    kind = getattr(gx.expectations, rule.kind)
    return kind(column=rule.column, meta={FAILURE: rule.failure}, **rule.arguments)


def _great_expectations() -> ModuleType:
    """The library, told not to phone home.

    No part of it is lighter, as each of its modules imports the package, and that imports everything. Without garbage
    collection and without the imports for features that no rule of ours has, it takes half the time and two thirds of
    the memory (1.8 instead of 3.4 s, 210 instead of 306 MB).
    """
    # Before the import, which reads it.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings(), collector_off(), postponed(UNUSED):
        # The library itself imports deprecated modules.
        warnings.filterwarnings("ignore", r"module 'sre_\w+' is deprecated", DeprecationWarning)
        return import_module("great_expectations")


def _site(docs: Path) -> dict[str, object]:
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.absolute())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "show_cta_footer": False},
    }


def _failure(result: "ExpectationValidationResult") -> str:
    """The sentence of a failed expectation, with the counts of its result."""
    sentence = str(result.expectation_config.meta[FAILURE])
    counts = result.result
    return sentence.format(counts.get("unexpected_count", "an unknown number"), counts.get("element_count", "all"))
