from math import log1p

import pytest

from loop.types import Feedback, FeedbackKind, Interaction, Message, Objective, Verifier, VerifierKind
from tests.feedback import answers, ask, made, tell

RATING, EDIT, COMPARISON = FeedbackKind.RATING, FeedbackKind.EDIT, FeedbackKind.COMPARISON
OUTCOME, REGENERATE, IMPLICIT = FeedbackKind.OUTCOME, FeedbackKind.REGENERATE, FeedbackKind.IMPLICIT


def weights(*events: Interaction | Feedback) -> dict[str, float]:
    examples = made(list(events)).examples
    return {e.branches[0].response.content: e.branches[0].score for e in examples}


def test_a_thumb_is_a_verdict_with_full_weight() -> None:
    assert weights(ask("a"), ask("b"), tell("a", value=1.0), tell("b", value=-1.0)) == {
        "The answer called a": 1.0,
        "The answer called b": -1.0,
    }


def test_an_implicit_signal_weighs_what_it_says() -> None:
    assert weights(ask("a"), tell("a", IMPLICIT, -0.25)) == {"The answer called a": -0.25}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_values_that_say_nothing_are_counted_as_unusable(value: float | None) -> None:
    kinds = (FeedbackKind.THUMB, RATING, OUTCOME, IMPLICIT)
    curated = made([ask("a"), *(tell("a", kind, value) for kind in kinds)])

    assert curated.examples == ()
    assert curated.report["unusable"] == len(kinds)


def test_a_comment_trains_nothing_and_is_counted() -> None:
    curated = made([ask("a"), tell("a", FeedbackKind.COMMENT, text="Nice weather")])

    assert curated.examples == ()
    assert curated.report["comments"] == 1


def test_an_edit_is_preferred_to_what_was_edited() -> None:
    assert answers(made([ask("a", answer="It's late"), tell("a", EDIT, text="It is late.")])) == [
        ("pair", "+It is late.", "-It's late")
    ]


def test_an_edit_that_changes_nothing_is_left_out() -> None:
    curated = made([ask("a", answer="Yes."), tell("a", EDIT, text=" Yes.\n"), tell("a", EDIT, text=" ", user="bob")])

    assert curated.examples == ()
    assert (curated.report["unchanged_edits"], curated.report["unusable"]) == (1, 1)


def test_a_demonstration_keeps_the_shown_answer_and_the_verifier() -> None:
    verifier = Verifier(VerifierKind.NUMERIC, "42")
    (example,) = made([ask("a", verifiers=(verifier,)), tell("a", FeedbackKind.DEMONSTRATION, text="42")]).examples

    assert example.objective is Objective.DEMONSTRATION
    assert example.branches[0].response == Message("assistant", "42")
    assert example.verifiers == (verifier,)


def test_a_comparison_needs_one_prompt_and_two_answers() -> None:
    same = [ask("a", answer="A"), ask("b", answer="B"), tell("a", COMPARISON, -1.0, other="b")]
    different = [ask("c"), ask("d", prompt="And of Spain?"), tell("c", COMPARISON, 1.0, other="d")]
    alone = [tell("a", COMPARISON, 1.0, other="unknown", user="bob")]
    curated = made([*same, *different, *alone])

    assert answers(curated) == [("pair", "+B", "-A")]
    assert (curated.report["different_prompts"], curated.report["orphans"]) == (1, 1)


def test_ratings_beyond_any_scale_are_unusable() -> None:
    rated = [event for n in range(3) for event in (ask(f"a{n}"), tell(f"a{n}", RATING, 1.7e308))]
    assert made(rated).report["unusable"] == 3


def test_ratings_are_measured_against_the_habit_of_their_user() -> None:
    """Ann's 4 is low for her, Bob's 3 high for him."""
    ann = [tell(f"i{n}", RATING, value, user="ann") for n, value in enumerate([5.0, 5.0, 5.0, 4.0])]
    bob = [tell(f"i{n}", RATING, value, user="bob") for n, value in enumerate([1.0, 1.0, 1.0, 3.0], start=4)]
    asked = [ask(f"i{n}", prompt=f"Question {n}", user="ann" if n < 4 else "bob") for n in range(8)]

    told = weights(*asked, *ann, *bob)

    assert told["The answer called i3"] == -1.0
    assert told["The answer called i7"] == 1.0
    assert told["The answer called i0"] == pytest.approx(1 / 3**0.5, abs=1e-5)
    assert told["The answer called i4"] == pytest.approx(-1 / 3**0.5, abs=1e-5)


def test_a_user_without_a_habit_is_measured_against_the_midpoint() -> None:
    asked = [ask(f"i{n}", prompt=f"Question {n}", user=f"user {n}") for n in range(3)]
    told = [tell(f"i{n}", RATING, value, user=f"user {n}") for n, value in enumerate([1.0, 3.0, 4.0])]

    assert weights(*asked, *told) == {
        "The answer called i0": -1.0,
        "The answer called i1": pytest.approx(1 / 3, abs=1e-5),
        "The answer called i2": 1.0,
    }


def test_two_ratings_of_one_user_far_apart_on_one_prompt_are_a_preference() -> None:
    asked = [ask("low", answer="low"), ask("mid", answer="mid"), ask("high", answer="high")]
    told = [tell("low", RATING, 1.0), tell("mid", RATING, 2.0), tell("high", RATING, 5.0)]

    assert answers(made([*asked, *told])) == [("pair", "+high", "-low"), ("unpaired", "-mid")]
    assert answers(made([asked[0], asked[1], *told[:2]])) == [("unpaired", "+mid"), ("unpaired", "-low")]


def test_three_ratings_of_one_user_far_apart_on_one_prompt_are_a_ranking() -> None:
    names = {"worst": 1.0, "middle": 4.0, "near": 5.5, "best": 7.0}
    asked = [ask(name, answer=name) for name in names]
    told = [tell(name, RATING, value) for name, value in names.items()]
    ranking, alone = sorted(made([*asked, *told]).examples, key=lambda example: -len(example.branches))

    assert ranking.objective is Objective.RANKING
    ranked = [(branch.response.content, branch.score) for branch in ranking.branches]
    assert ranked == [("best", 1.0), ("middle", 0.0), ("worst", -1.0)]
    assert alone.branches[0].response.content == "near"


def test_answers_to_several_users_that_one_person_rates_make_pairs() -> None:
    asked = [ask(name, answer=name, user=name) for name in ("a", "b", "c")]
    told = [tell(name, RATING, value, user="rater") for name, value in zip("abc", (1.0, 5.0, 9.0), strict=True)]

    assert answers(made([*asked, *told])) == [("pair", "+c", "-a")]


def test_an_answer_that_was_rated_twice_stands_in_a_ranking_once() -> None:
    rated = [("a", "same", 1.0), ("b", "other", 5.0), ("c", "same", 9.0), ("d", "third", 2.9)]
    asked = [ask(name, answer=answer) for name, answer, _ in rated]
    told = [tell(name, RATING, value) for name, _, value in rated]

    assert answers(made([*asked, *told])) == [
        ("ranking", "+same", "-other", "-third"),
        ("unpaired", "-same"),
    ]


def test_users_who_rank_the_same_answers_alike_make_one_example_and_a_contrary_one_takes_from_its_weight() -> None:
    asked = [ask(name, answer=name, conversation="one") for name in ("a", "b", "c")]
    orders = {"ann": (9.0, 5.0, 1.0), "bob": (8.0, 5.0, 2.0), "cleo": (1.0, 5.0, 9.0)}
    told = [
        tell(name, RATING, value, user=user)
        for user, values in orders.items()
        for name, value in zip("abc", values, strict=True)
    ]
    (ranking,) = made([*asked, *told]).examples
    margin = (log1p(2) - log1p(1)) / (log1p(2) + log1p(1))

    assert [b.response.content for b in ranking.branches] == ["a", "b", "c"]
    assert [b.score for b in ranking.branches] == pytest.approx([margin, 0.0, -margin], abs=1e-6)


def test_several_signals_for_one_answer_make_one_example_of_the_strongest() -> None:
    (example,) = made(
        [ask("a"), tell("a", value=1.0), tell("a", IMPLICIT, 0.2), tell("a", OUTCOME, 1.0), tell("a", REGENERATE)]
    ).examples

    assert example.signal is FeedbackKind.OUTCOME
    assert example.branches[0].score == 1.0
    assert len(example.event_ids) == 5


def test_a_hundred_approvals_weigh_no_more_than_one() -> None:
    crowd = [tell("a", value=1.0, user=f"user {n}") for n in range(100)]

    assert weights(ask("a"), *crowd) == {"The answer called a": 1.0}


def test_a_contradicted_majority_keeps_its_margin_and_a_tie_is_left_out() -> None:
    told = [tell("a", value=value, user=f"user {n}") for n, value in enumerate([1.0, 1.0, -1.0])]

    assert weights(ask("a"), *told)["The answer called a"] == pytest.approx(0.2263, abs=1e-4)
    assert made([ask("a"), *told[1:]]).report["tied"] == 1


def test_contradicting_comparisons_are_one_pair_for_the_majority() -> None:
    votes = [tell("a", COMPARISON, value, other="b", user=f"u{n}") for n, value in enumerate([1.0, 1.0, -1.0])]

    assert answers(made([ask("a", answer="A"), ask("b", answer="B"), *votes])) == [("pair", "+A", "-B")]


def test_asking_again_is_a_weak_complaint_until_a_later_answer_is_liked() -> None:
    first = ask("first", conversation="c", days=0.0)
    second = ask("second", conversation="c", days=0.1)
    again = tell("first", REGENERATE)

    assert weights(first, second, again) == {"The answer called first": -0.3}
    assert answers(made([first, second, again, tell("second", value=1.0)])) == [
        ("pair", "+The answer called second", "-The answer called first"),
        ("unpaired", "+The answer called second"),
    ]


@pytest.mark.parametrize(
    "later",
    [
        ask("second", conversation="c", days=-0.1),
        ask("second", conversation="another", days=0.1),
        ask("second", conversation="c", days=0.1, prompt="Something else"),
    ],
    ids=["an earlier answer", "another conversation", "another question"],
)
def test_asking_again_is_no_preference_for(later: Interaction) -> None:
    events = [ask("first", conversation="c"), later, tell("first", REGENERATE), tell("second", value=1.0)]

    assert {example.objective for example in made(events).examples} == {Objective.UNPAIRED}


def test_asking_again_finds_the_later_answer_by_its_parent() -> None:
    first = ask("first", conversation="c", prompt="Now (10:00)", parent="p")
    second = ask("second", conversation="c", prompt="Now (10:01)", parent="p", days=0.1)
    examples = made([first, second, tell("first", REGENERATE), tell("second", value=1.0)]).examples

    (paired,) = (example for example in examples if example.objective is Objective.PAIR)
    assert paired.prompt == first.messages
