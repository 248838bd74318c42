"""Run of the rules by Great Expectations, with the results as Data Docs."""

import os
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import polars as pl

from connectors.expectations.rules import Rule
from loop.imports import collector_off, postponed

if TYPE_CHECKING:
    from great_expectations.core import ExpectationValidationResult
    from great_expectations.expectations import Expectation

# Data Docs write failing values raw into the page, where a <script> in somebody's feedback would run.
COUNTS_ONLY = {"result_format": "SUMMARY", "partial_unexpected_count": 0}
UNUSED = ("altair", "boto3", "scipy.stats")
"""Modules that Great Expectations imports for charts, for buckets and for distributions."""
FAILURE = "failure"
"""Key of the sentence for a failure, in the metadata of its expectation."""

Suite = tuple[pl.DataFrame, Sequence[Rule]]
"""A table and the rules that it has to keep."""


def run(suites: Mapping[str, Suite], docs: Path) -> list[str]:
    """Run all suites, write their results as pages under `docs` and return the failures."""
    gx = great_expectations()
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


def great_expectations() -> ModuleType:
    """Great Expectations, imported with its telemetry turned off.

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
