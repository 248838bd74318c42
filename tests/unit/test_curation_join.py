from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from loop.settings import CurationSettings
from loop.types import Feedback, FeedbackKind, Interaction
from tests.feedback import AS_OF, answers, ask, made, tell

USERS = st.sampled_from(["ann", "bob", None])
NAMES = [f"i{n}" for n in range(6)]
VALUES = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 4.0, None])


def interactions() -> st.SearchStrategy[list[Interaction]]:
    one = st.builds(
        ask,
        st.sampled_from(NAMES),
        prompt=st.sampled_from(["Where is my order #48213?", "Cancel it", "Hello"]),
        answer=st.sampled_from(["It is on its way.", "It arrives on Monday, I believe.", "No.", ""]),
        user=USERS,
        conversation=st.sampled_from(["c1", "c2"]),
        days=st.sampled_from([-200.0, 0.0, 1.0, 2.0, 9.99]),
        parent=st.sampled_from([None, "i0"]),
        tenant=st.sampled_from(["default", "other"]),
        source=st.sampled_from(["app", "import"]),
        aliases=st.sampled_from([(), ("i1",), ("i4", "i5")]),
    )
    return st.lists(one, max_size=8)


def feedback() -> st.SearchStrategy[list[Feedback]]:
    one = st.builds(
        tell,
        st.sampled_from(NAMES),
        st.sampled_from(FeedbackKind),
        VALUES,
        st.sampled_from([None, "No.", "It arrives on Tuesday."]),
        name=st.sampled_from([f"f{n}" for n in range(8)]),
        user=USERS,
        days=st.sampled_from([0.0, 1.0, 2.0, 11.0]),
        other=st.sampled_from([None, *NAMES]),
        revises=st.sampled_from([None, *(f"f{n}" for n in range(8))]),
        retracted=st.booleans(),
        whole=st.booleans(),
        tenant=st.sampled_from(["default", "other"]),
        source=st.sampled_from(["app", "import"]),
    )
    return st.lists(one, max_size=10)


@given(interactions(), feedback(), st.data())
@settings(max_examples=80, deadline=None)
def test_neither_order_nor_repetition_of_arrival_changes_anything(
    asked: list[Interaction], told: list[Feedback], data: st.DataObject
) -> None:
    events = [*asked, *told]
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=6)) if events else []
    shuffled = data.draw(st.permutations([*events, *repeated]))

    assert made(list(shuffled), CurationSettings()) == made(events, CurationSettings())


@given(interactions(), feedback())
@settings(max_examples=50, deadline=None)
def test_every_feedback_is_accounted_for_once(asked: list[Interaction], told: list[Feedback]) -> None:
    report = made([*asked, *told]).report
    fates = ("superseded", "retracted", "orphans", "immature", "outside_window", "mature")

    assert report.get("feedback", 0) == sum(report.get(fate, 0) for fate in fates)


def test_feedback_that_came_before_its_interaction_or_days_later_counts() -> None:
    assert answers(made([tell("i", value=1.0, days=-1), ask("i")])) == [("unpaired", "+The answer called i")]
    assert answers(made([ask("i"), tell("i", value=1.0, days=9)])) == [("unpaired", "+The answer called i")]


def test_the_latest_word_of_a_user_wins() -> None:
    curated = made([ask("i"), tell("i", value=1.0, days=1), tell("i", value=-1.0, days=2)])

    assert answers(curated) == [("unpaired", "-The answer called i")]
    assert curated.report["superseded"] == 1


def test_retracted_feedback_leaves_nothing_and_can_be_given_again() -> None:
    retracted = [ask("i"), tell("i", value=1.0, days=1), tell("i", retracted=True, days=2)]

    assert answers(made(retracted)) == []
    assert made(retracted).report["retracted"] == 1
    assert answers(made([*retracted, tell("i", value=-1.0, days=3)])) == [("unpaired", "-The answer called i")]


def test_anonymous_feedback_is_replaced_only_by_what_revises_it() -> None:
    first = tell("i", value=1.0, name="first", user=None, days=1)
    second = tell("i", value=-1.0, name="second", user=None, days=2, revises="first")
    third = tell("i", retracted=True, name="third", user=None, days=3, revises="second")
    asked = ask("i", user=None)

    assert answers(made([asked, first, second])) == [("unpaired", "-The answer called i")]
    assert answers(made([asked, first, second, third])) == []
    assert made([asked, first, tell("i", value=1.0, name="alone", user=None)]).report["mature"] == 2


def test_nobody_can_revise_the_feedback_of_another_user() -> None:
    mine = tell("i", value=1.0, name="mine", user="ann", days=1)
    theirs = tell("i", retracted=True, name="theirs", user="bob", days=2, revises="mine")
    behind = tell("i", retracted=True, name="behind", user="bob", days=3, revises="anonymous")
    anonymous = tell("i", value=1.0, name="anonymous", user=None, days=2, revises="mine")

    assert answers(made([ask("i"), mine, theirs])) == [("unpaired", "+The answer called i")]
    assert answers(made([ask("i"), mine, anonymous, behind])) == [("unpaired", "+The answer called i")]


def test_revisions_that_go_in_a_circle_do_no_harm() -> None:
    one = tell("i", value=1.0, name="one", user=None, days=1, revises="two")
    two = tell("i", value=-1.0, name="two", user=None, days=2, revises="one")

    assert answers(made([ask("i", user=None), one, two])) == [("unpaired", "-The answer called i")]


def test_the_same_comparison_told_from_the_other_side_is_one_opinion() -> None:
    both = [ask("a", answer="A"), ask("b", answer="B")]
    first = tell("a", FeedbackKind.COMPARISON, 1.0, other="b", days=1)
    second = tell("b", FeedbackKind.COMPARISON, 1.0, other="a", days=2)

    assert answers(made([*both, first, second])) == [("pair", "+B", "-A")]


def test_young_interactions_wait_and_old_ones_are_left_out() -> None:
    fresh = ask("fresh", days=10 - 0.5 / 24)
    old = ask("old", days=-100)
    report = made(
        [fresh, old, tell("fresh", value=1.0, days=9.99), tell("old", value=1.0), tell("none", value=1.0)]
    ).report

    assert (report["immature"], report["outside_window"], report["orphans"]) == (1, 1, 1)
    assert "examples" not in report


def test_the_future_is_not_known_yet() -> None:
    events = [ask("i"), tell("i", value=1.0, days=1), tell("i", value=-1.0, days=11)]

    assert answers(made(events)) == [("unpaired", "+The answer called i")]
    assert answers(made(events, as_of=AS_OF + timedelta(days=2))) == [("unpaired", "-The answer called i")]


def test_feedback_of_one_tenant_never_meets_an_interaction_of_another() -> None:
    curated = made([ask("i", tenant="one"), tell("i", value=1.0, tenant="two")])

    assert curated.report["orphans"] == 1
    assert curated.examples == ()


def test_an_id_two_sources_use_means_the_one_of_the_same_source() -> None:
    here, there = ask("i", source="here", answer="here"), ask("i", source="there", answer="there", days=-1)

    assert answers(made([here, there, tell("i", value=1.0, source="here")])) == [("unpaired", "+here")]
    assert answers(made([here, there, tell("i", value=1.0, source="elsewhere")])) == [("unpaired", "+there")]


def test_an_example_names_every_event_it_was_made_from() -> None:
    curated = made([ask("i"), tell("i", value=1.0, name="thumb"), tell("i", FeedbackKind.IMPLICIT, 1.0, name="copied")])

    assert [example.event_ids for example in curated.examples] == [("copied", "i", "thumb")]


def test_feedback_on_a_name_that_answers_share_is_about_the_last_one_before_it() -> None:
    asked = [ask(f"i{n}", answer=f"Answer {n}.", days=n, aliases=("trace",)) for n in (1, 2, 3)]
    for days, expected in ((0.5, "+Answer 1."), (2.5, "+Answer 2."), (9.0, "+Answer 3.")):
        told = tell("trace", FeedbackKind.THUMB, 1.0, days=days)
        assert answers(made([told, *reversed(asked)])) == [("unpaired", expected)]


def test_an_id_goes_before_an_alias() -> None:
    asked = [ask("i1", answer="By id.", days=0), ask("i2", answer="By alias.", days=0, aliases=("i1",))]
    assert answers(made([*asked, tell("i1", FeedbackKind.THUMB, 1.0)])) == [("unpaired", "+By id.")]


def test_an_alias_of_the_same_source_goes_before_one_of_another() -> None:
    asked = [
        ask("i1", answer="Ours.", days=0, aliases=("trace",)),
        ask("i2", answer="Theirs.", days=1, aliases=("trace",), source="other"),
    ]
    told = tell("trace", FeedbackKind.THUMB, 1.0, days=2)
    assert answers(made([*asked, told])) == [("unpaired", "+Ours.")]


def test_what_a_user_says_of_two_answers_that_share_a_name_counts_for_each() -> None:
    asked = [ask(f"i{n}", prompt=f"Question {n}?", answer=f"Answer {n}.", days=n, aliases=("trace",)) for n in (1, 2)]
    told = [tell("trace", FeedbackKind.THUMB, value, days=days) for value, days in ((1.0, 1.5), (-1.0, 2.5))]
    assert answers(made([*asked, *told])) == [("unpaired", "+Answer 1."), ("unpaired", "-Answer 2.")]


def test_feedback_by_another_name_replaces_and_retracts_what_was_said_of_the_same_answer() -> None:
    asked = ask("i1", answer="Yes.", days=0, aliases=("span",))
    up = tell("i1", FeedbackKind.THUMB, 1.0, days=1)
    assert answers(made([asked, up, tell("span", FeedbackKind.THUMB, -1.0, days=2)])) == [("unpaired", "-Yes.")]
    assert answers(made([asked, up, tell("span", FeedbackKind.THUMB, days=2, retracted=True)])) == []
