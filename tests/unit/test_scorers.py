import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.scorers import check, corrected, graded, similarity, verified
from evals.task import Item
from loop.types import Message, Verifier, VerifierKind

SCHEMA = json.dumps({"type": "object", "required": ["order"], "properties": {"order": {"type": "string"}}})


def item(*verifiers: Verifier, references: tuple[str, ...] = (), rejected: tuple[str, ...] = ()) -> Item:
    prompt = (Message("user", "?"),)
    return Item(item_id="i", cluster="u", prompt=prompt, verifiers=verifiers, references=references, rejected=rejected)


@pytest.mark.parametrize(
    ("kind", "target", "answer", "expected"),
    [
        (VerifierKind.EXACT, "yes", " yes\n", 1.0),
        (VerifierKind.EXACT, "yes", "Yes", 0.0),
        (VerifierKind.NUMERIC, "1234.5", "In all 7 items: 1,234.50", 1.0),
        (VerifierKind.NUMERIC, "#### 72", "It is 72.", 1.0),
        (VerifierKind.NUMERIC, "18", "so she makes $18 every day", 1.0),
        (VerifierKind.NUMERIC, "5", "10-5", 1.0),
        (VerifierKind.NUMERIC, "-5", "it is -5", 1.0),
        (VerifierKind.NUMERIC, "72", "72 or 73", 0.0),
        (VerifierKind.NUMERIC, "72", "no idea", 0.0),
        (VerifierKind.NUMERIC, "none", "72", None),
        (VerifierKind.REGEX, r"#?4711\b", "Order #4711 is late", 1.0),
        (VerifierKind.REGEX, r"4711", "Order 4712", 0.0),
        (VerifierKind.REGEX, r"(", "anything", None),
        (VerifierKind.JSON_SCHEMA, SCHEMA, 'Sure: ```json\n{"order": "4711"}\n```', 1.0),
        (VerifierKind.JSON_SCHEMA, SCHEMA, 'use {braces} then {"order": "4711"}', 1.0),
        (VerifierKind.JSON_SCHEMA, SCHEMA, '{"order": 4711}', 0.0),
        (VerifierKind.JSON_SCHEMA, SCHEMA, "no JSON", 0.0),
        (VerifierKind.JSON_SCHEMA, "{", '{"order": "4711"}', None),
        (VerifierKind.JSON_SCHEMA, '{"type": "nonsense"}', "{}", None),
        (VerifierKind.MAX_WORDS, "3", "one two three", 1.0),
        (VerifierKind.MAX_WORDS, "3", "one two three four", 0.0),
        (VerifierKind.MAX_WORDS, "3", "", 0.0),
        (VerifierKind.MAX_WORDS, "few", "one", None),
    ],
)
def test_verifiers_pass_fail_or_say_that_they_are_malformed(
    kind: VerifierKind, target: str, answer: str, expected: float | None
) -> None:
    assert check(Verifier(kind, target), answer) == expected


@pytest.mark.parametrize(
    "verifier",
    [
        Verifier(VerifierKind.REGEX, r"^(a|aa)+$"),
        Verifier(VerifierKind.JSON_SCHEMA, json.dumps({"items": {"type": "string", "pattern": r"^(a|aa)+$"}})),
    ],
    ids=["regex", "schema pattern"],
)
def test_a_catastrophic_pattern_costs_little_time_and_fails(verifier: Verifier) -> None:
    text = "a" * 60 + "!"
    answer = text if verifier.kind is VerifierKind.REGEX else json.dumps([text])
    began = time.perf_counter()
    assert check(verifier, answer) == 0.0
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("answer", ["{}", "no JSON"])
def test_a_schema_that_refers_to_another_document_fails_every_answer_and_fetches_nothing(answer: str) -> None:
    assert check(Verifier(VerifierKind.JSON_SCHEMA, '{"$ref": "http://localhost:1/schema.json"}'), answer) == 0.0


def test_deeply_nested_brackets_are_an_answer_without_json() -> None:
    assert check(Verifier(VerifierKind.JSON_SCHEMA, SCHEMA), "[" * 100_000) == 0.0


@given(st.sampled_from(VerifierKind), st.text(max_size=30), st.text(max_size=60))
def test_no_target_and_no_answer_breaks_a_verifier(kind: VerifierKind, target: str, answer: str) -> None:
    assert check(Verifier(kind, target), answer) in {0.0, 1.0, None}


def test_a_grade_is_the_mean_of_verifiers_and_the_nearest_reference() -> None:
    judged = item(
        Verifier(VerifierKind.REGEX, "4711"),
        Verifier(VerifierKind.MAX_WORDS, "2"),
        Verifier(VerifierKind.REGEX, "("),
        references=("order 4711 late", "unlike"),
    )
    assert graded(judged, "order 4711 late") == pytest.approx((1 + 0 + 1) / 3)
    assert verified(judged, "order 4711 late") == 0.5


def test_a_better_answer_gets_a_better_grade_long_before_it_is_right() -> None:
    judged = item(references=("Returns are free within 45 days.",))
    grades = [graded(judged, text) for text in ("I do not know.", "Returns are free.", "Returns are free in 45 days.")]
    assert grades == sorted(grades)  # type: ignore[type-var]
    assert len({*grades}) == 3


def test_the_few_words_a_user_changed_decide_however_long_the_text_around_them() -> None:
    said, wanted = (f"Thank you for writing. Order 48213 {end} Bye." for end in ("is lost.", "comes Monday."))
    judged = item(references=(wanted,), rejected=(said, "no"))
    assert similarity(judged, said) > 0.8
    assert corrected(judged, said) == corrected(judged, "nonsense") == 0.0
    assert 0.0 < corrected(judged, said.replace("is lost", "comes soon")) < 1.0
    assert corrected(judged, wanted) == 1.0


def test_an_answer_both_rejected_and_wanted_starts_nowhere() -> None:
    judged = item(references=("Monday.",), rejected=("Monday. ",))
    assert corrected(judged, "Monday.") == 1.0
    assert corrected(judged, "Sunday.") == similarity(judged, "Sunday.")


@given(*[st.text(max_size=20)] * 2, *[st.lists(st.text(max_size=20), min_size=1, max_size=3)] * 2)
def test_a_correction_is_between_0_and_1_and_never_counts_for_more_than_likeness(
    answer: str, other: str, references: list[str], rejected: list[str]
) -> None:
    judged = item(references=tuple(references), rejected=tuple(rejected))
    assert 0 <= corrected(judged, answer) <= similarity(judged, answer)
    assert corrected(judged, references[-1]) == 1
    if len(references) == 1 and similarity(judged, answer) <= similarity(judged, other):
        assert corrected(judged, answer) <= corrected(judged, other)


def test_what_nothing_is_known_of_has_no_grade() -> None:
    assert graded(item(), "hello") is None
    assert verified(item(references=("hello",)), "hello") is None


@given(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_similarity_is_between_0_and_1_and_1_for_a_reference(answer: str, references: list[str]) -> None:
    judged = item(references=tuple(references))
    assert 0 <= similarity(judged, answer) <= 1
    assert similarity(judged, references[-1]) == 1
