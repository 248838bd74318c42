"""Great Expectations itself takes seconds to import, so one broken snapshot shows many failures at once."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from connectors.expectations import validate
from loop.curation import snapshot
from loop.curation.examples import content
from loop.errors import NotFoundError
from loop.hashing import digest
from loop.settings import CurationSettings, ValidationSettings
from loop.types import Branch, Example, FeedbackKind, Message, Objective, Split, Validation
from tests.homes import unpack

NOW = datetime(2026, 1, 10, tzinfo=UTC)
HOSTILE = "<script>alert('ann@b.example')</script>"
FOREIGN = "The snapshot was altered or is another version's: make it again with `nightshift curate`."
REPEATS = (
    "Somebody repeats themselves, or the application fills in a template: look at the newest feedback and mend what "
    "sends it."
)
COMPLAINTS = (
    "From complaints alone a model learns what not to say: wait for approvals and edits, and see that the application "
    "sends them too."
)
WAIT = "Wait for more feedback, or lower `min_train_examples` under [validation]."
WHO = (
    "An attack, a launch or history imported at once: look at who gave it (`nightshift curate` counts them by day); if "
    "they are users, raise `burst_factor` under [curation]."
)
LENIENT = ValidationSettings(min_train_examples=1)


def example(number: int, split: Split = Split.TRAIN, *, score: float = 1.0) -> Example:
    made = Example(
        example_id="",
        objective=Objective.UNPAIRED,
        signal=FeedbackKind.THUMB,
        prompt=(Message("user", f"{HOSTILE} {number}"),),
        branches=(Branch(Message("assistant", HOSTILE), score),),
        split=split,
        cluster=f"user {number}",
        tenant=HOSTILE,
        conversation_id=HOSTILE,
        observed_at=NOW,
        event_ids=(f"{HOSTILE} f{number}", f"i{number}"),
    )
    return replace(made, example_id=digest(content(made)))


def folder_of(examples: list[Example], home: Path) -> Path:
    written = snapshot.write(examples, {}, CurationSettings(), NOW, home)
    return home / "snapshots" / written.snapshot_id


def validated(
    examples: list[Example], home: Path, settings: ValidationSettings = LENIENT, report: dict[str, int] | None = None
) -> Validation:
    return validate(folder_of(examples, home), settings, report or {}, home / "docs")


def assert_no_value_is_shown(home: Path) -> None:
    pages = [path.read_text(errors="replace") for path in (home / "docs").rglob("*") if path.is_file()]
    assert pages
    for page in pages:
        assert "alert(" not in page
        assert "b.example" not in page


def test_a_sound_snapshot_passes_and_leaves_its_docs(tmp_path: Path) -> None:
    examples = [example(1), example(2, score=-1.0), example(3, Split.DEV), example(4, Split.VAULT)]
    validation = validated(
        examples, tmp_path, report={"drafts": 10, "near_duplicates": 5, "last_day": 10, "last_day_quarantined": 2}
    )

    assert validation.passed
    assert validation.failures == ()
    assert validation.docs is not None
    assert (Path(validation.docs) / "index.html").exists()
    assert_no_value_is_shown(tmp_path)


def test_every_bound_that_is_broken_is_told_with_what_was_seen_and_required(tmp_path: Path) -> None:
    examples = [
        example(1, score=-1.0),
        example(2, score=-1.0),
        replace(example(3, Split.VAULT), cluster="user 1"),
    ]
    report = {"drafts": 10, "near_duplicates": 6, "last_day": 10, "last_day_quarantined": 3}
    validation = validated(examples, tmp_path, ValidationSettings(), report)

    assert not validation.passed
    assert validation.failures == (
        f"share of drafts that were near duplicates: 0.6; required: at most 0.5. {REPEATS}",
        f"share of the last day's feedback in quarantine: 0.3; required: at most 0.2. {WHO}",
        f"share of train examples that are complaints alone: 1; required: at most 0.95. {COMPLAINTS}",
        f"train examples: 2; required: at least 16. {WAIT}",
        f"users who are in more than one split: 1; required: at most 0. {FOREIGN}",
    )


def ranking(number: int, *scores: float) -> Example:
    branches = tuple(Branch(Message("assistant", f"{HOSTILE} {score}"), score) for score in scores)
    made = replace(example(number), example_id="", objective=Objective.RANKING, branches=branches)
    return replace(made, example_id=digest(content(made)))


def test_rankings_pass_from_best_to_worst_with_equals_and_neutral_answers_between(tmp_path: Path) -> None:
    validation = validated([ranking(1, 1.0, 0.0, -1.0), ranking(2, 0.6, 0.6, -0.2, -0.4)], tmp_path)

    assert validation.failures == ()


def test_a_group_whose_rewards_are_not_taken_around_their_mean_is_refused(tmp_path: Path) -> None:
    groups = [ranking(1, 0.9, 0.5, 0.1), ranking(2, -1.0, 0.0, 1.0), ranking(3, 3.0, 0.0, -3.0), ranking(4, 1.0, -1.0)]
    validation = validated(groups, tmp_path)

    assert {failure.split(";")[0] for failure in validation.failures} == {
        "3 of 4 examples have an unknown shape",
        "1 of 4 examples have a branch below a worse one",
        "1 of 4 examples have a score that is not within -1 and 1.",
    }


def test_tables_that_earlier_code_wrote_are_judged_like_new_ones(tmp_path: Path) -> None:
    home = unpack("0.1.0", tmp_path) / ".nightshift"
    (folder,) = (home / "snapshots").iterdir()

    assert validate(folder, ValidationSettings(), {}, tmp_path / "docs").passed


def test_complaints_beside_answers_that_users_wrote_are_no_reason_to_stop(tmp_path: Path) -> None:
    complaints = [example(number, score=-1.0) for number in range(9)]
    assert not validated(complaints, tmp_path / "alone").passed
    shown = replace(example(9), objective=Objective.DEMONSTRATION, signal=FeedbackKind.DEMONSTRATION)
    assert validated([*complaints, shown], tmp_path / "beside").passed


def test_broken_examples_are_counted_and_never_shown(tmp_path: Path) -> None:
    broken = [
        replace(example(1), example_id=HOSTILE),
        replace(example(2), signal=HOSTILE, prompt=()),
        example(3, score=0.0),
        example(4, score=1.5),
        replace(example(5), branches=(Branch(Message("assistant", " ")),)),
        replace(example(6), objective=Objective.PAIR, event_ids=(HOSTILE,)),
        replace(example(7), cluster=None),
        example(8),
        example(8),
    ]
    validation = validated(broken, tmp_path)

    assert {failure.split(";")[0] for failure in validation.failures} == {
        "1 of 9 examples have an id that is not the 64 digits of a sha256.",
        "1 of 9 examples have an unknown signal",
        "1 of 9 examples have an unknown shape",
        "1 of 9 examples have no cluster.",
        "1 of 9 examples have an empty prompt.",
        "1 of 9 examples have an empty answer.",
        "1 of 9 examples name fewer than the 2 events every example is made from.",
        "1 of 9 examples have a weight that is not above 0.",
        "1 of 9 examples have a score that is not within -1 and 1.",
        "2 of 9 examples share their id with another.",
    }
    assert_no_value_is_shown(tmp_path)


def test_no_examples_at_all_are_too_few_and_nothing_else(tmp_path: Path) -> None:
    assert validated([], tmp_path).failures == (f"train examples: 0; required: at least 1. {WAIT}",)


def test_foreign_columns_are_reported_before_anything_is_computed_on_them(tmp_path: Path) -> None:
    folder = folder_of([example(1)], tmp_path)
    table = pl.read_parquet(folder / "train.parquet")
    table.with_columns(pl.lit(HOSTILE).alias(HOSTILE), weight=pl.lit("x"), tenant=pl.lit(1)).write_parquet(
        folder / "train.parquet"
    )
    validation = validate(folder, LENIENT, {}, tmp_path / "docs")

    assert validation.failures == (
        f"columns whose name or type is not a snapshot's: 3; required: at most 0. {FOREIGN}",
    )
    assert_no_value_is_shown(tmp_path)


def test_a_folder_without_tables_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        validate(tmp_path / "nothing", LENIENT, {}, tmp_path / "docs")
