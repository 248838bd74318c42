from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.curation.split import split_of
from loop.settings import CurationSettings
from loop.types import Feedback, FeedbackKind, Interaction, Message, Split
from tests.feedback import AS_OF, answers, ask, made, tell

LONG = (
    "Please tell me when the parcel with the blue lamp that I ordered in March for my aunt in Lyon will arrive at last"
)
REPLY = "The parcel with the blue lamp left our warehouse this morning and arrives in Lyon on Tuesday before noon"
HALF = CurationSettings(vault_share=0.5, dev_share=0.0)
Events = list[Interaction | Feedback]


def said(name: str, prompt: str, answer: str, user: str = "ann", days: float = 0.0, value: float = 1.0) -> Events:
    asked = ask(name, prompt=prompt, answer=answer, user=user, days=days)
    return [asked, tell(name, value=value, user=user, days=days)]


def user_in(split: Split, number: int = 0) -> str:
    """The n-th user who is sent to a split."""
    names = (f"user {n}" for n in range(1000))
    return [name for name in names if split_of("default", name, HALF) is split][number]


def test_what_one_user_repeats_counts_once_and_the_newest_is_kept() -> None:
    curated = made([*said("a", "Hi", "Hello"), *said("b", "Hi", "Hello", days=1)])

    assert [example.event_ids[0] for example in curated.examples] == ["b"]
    assert curated.report["exact_duplicates"] == 1


def test_what_one_user_nearly_repeats_counts_once() -> None:
    nearly = [*said("a", LONG, REPLY), *said("b", LONG + "!!", REPLY + " sharp", days=1)]

    assert made(nearly).report["near_duplicates"] == 1


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [(LONG, "I do not know"), ("Another question altogether", REPLY)],
    ids=["another answer", "another question"],
)
def test_the_same_question_or_the_same_answer_alone_is_no_repetition(prompt: str, answer: str) -> None:
    assert len(made([*said("a", LONG, REPLY), *said("b", prompt, answer)]).examples) == 2


def test_many_users_with_the_same_question_are_signal() -> None:
    assert len(made([e for n in range(30) for e in said(f"i{n}", "Hi", "Hello", user=f"u{n}")]).examples) == 30


def test_turns_of_one_conversation_are_not_near_duplicates() -> None:
    """They share the system prompt and all earlier turns; their answers differ."""
    before = (Message("system", LONG * 20), Message("user", LONG * 5), Message("assistant", REPLY))
    first = ask("a", before=before, prompt="And then?", answer="It is delivered.")
    longer = (*first.messages, first.response)
    second = ask("b", before=longer, prompt="Thanks", answer="You are welcome.")

    assert len(made([first, second, tell("a", value=1.0), tell("b", value=1.0)]).examples) == 2


def test_a_train_example_that_nearly_equals_a_held_out_one_is_removed() -> None:
    judge, learner = user_in(Split.VAULT), user_in(Split.TRAIN)
    curated = made([*said("a", LONG, REPLY, judge), *said("b", LONG + "!!", REPLY + " sharp", learner)], HALF)

    assert [example.cluster for example in curated.examples] == [judge]
    assert curated.report["contaminated"] == 1


def test_the_same_question_with_another_answer_stays_in_train() -> None:
    judge, learner = user_in(Split.VAULT), user_in(Split.TRAIN)
    curated = made([*said("a", LONG, REPLY, judge), *said("b", LONG, "I do not know", learner)], HALF)

    assert len(curated.examples) == 2


def test_what_everybody_asks_and_hears_stays_in_train() -> None:
    judge, learners = user_in(Split.VAULT), [user_in(Split.TRAIN, n) for n in range(3)]
    events = [e for user in (judge, *learners) for e in said(f"by {user}", f"{LONG} {user}", REPLY, user)]

    assert len(made(events, HALF).examples) == 4
    assert made(events[:-2], HALF).report["contaminated"] == 2


def test_a_system_message_all_share_makes_nothing_similar() -> None:
    system = (Message("system", LONG * 20),)
    users = [user_in(Split.VAULT), user_in(Split.TRAIN)]
    asked = [ask(u, before=system, prompt=f"Question of {u}", answer=f"Yes, {u}", user=u) for u in users]

    assert len(made([*asked, *(tell(user, value=1.0, user=user) for user in users)], HALF).examples) == 2


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_user_is_sent_to_one_split_for_ever(tenant: str, user: str) -> None:
    grown = replace(CurationSettings(), max_examples=5, per_user_cap=1, scrub=False)

    assert split_of(tenant, user, CurationSettings()) is split_of(tenant, user, grown)


def test_splits_have_their_shares_and_change_with_the_key() -> None:
    users = [f"user {n}" for n in range(4000)]
    splits = [split_of("default", user, CurationSettings()) for user in users]
    other = [split_of("default", user, CurationSettings(split_key="another")) for user in users]

    assert splits.count(Split.VAULT) / len(users) == pytest.approx(0.2, abs=0.02)
    assert splits.count(Split.DEV) / len(users) == pytest.approx(0.1, abs=0.02)
    assert splits != other


def test_a_comparison_of_answers_to_users_of_two_splits_is_left_out() -> None:
    judge, learner = user_in(Split.VAULT), user_in(Split.TRAIN)
    asked = [ask("a", user=judge), ask("b", user=learner)]
    curated = made([*asked, tell("a", FeedbackKind.COMPARISON, 1.0, other="b", user=judge)], HALF)

    assert curated.examples == ()
    assert curated.report["across_splits"] == 1


def test_only_the_newest_train_examples_are_kept_and_nothing_held_out_is_dropped() -> None:
    events = [e for n in range(60) for e in said(f"i{n}", f"Question {n}", f"Answer {n}", user=f"u{n}", days=n / 100)]
    everything, newest = made(events, HALF).examples, made(events, replace(HALF, max_examples=5)).examples
    train = [example for example in everything if example.split is Split.TRAIN]

    assert [example for example in newest if example.split is Split.TRAIN] == train[-5:]
    assert len(newest) == len(everything) - len(train) + 5


def test_a_share_of_the_train_examples_is_older_approved_ones() -> None:
    events = [
        e
        for n in range(60)
        for e in said(f"i{n}", f"Question {n}", f"Answer {n}", user=f"u{n}", days=n / 100, value=float(n % 2))
    ]
    settings = replace(HALF, max_examples=10)
    newest, mixed = made(events, settings).examples, made(events, replace(settings, replay=0.3)).examples
    train = [[example for example in each if example.split is Split.TRAIN] for each in (newest, mixed)]

    assert len(train[0]) == len(train[1]) == 10
    assert train[1][3:] == train[0][3:]
    assert all(example.branches[0].score > 0 for example in train[1][:3])
    assert max(e.observed_at for e in train[1][:3]) < min(e.observed_at for e in train[0])


def test_examples_that_cannot_be_trained_on_are_counted() -> None:
    events = [*said("a", "Hi", " "), *said("b", "x" * 70_000, "Hello")]

    assert (made(events).report["empty_answers"], made(events).report["too_long"]) == (1, 1)


def test_ids_are_those_of_the_content_and_examples_come_oldest_first() -> None:
    events = [*said("a", "Hi", "Hello", days=1), *said("b", "Bye", "Goodbye")]
    examples = made(events).examples

    assert [example.prompt[0].content for example in examples] == ["Bye", "Hi"]
    assert examples == made(events, as_of=AS_OF + timedelta(days=3)).examples
    assert len({example.example_id for example in examples}) == 2
    assert answers(made(events)) == [("unpaired", "+Goodbye"), ("unpaired", "+Hello")]
