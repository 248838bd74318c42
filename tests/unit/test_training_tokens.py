"""Examples become token ids: one end of turn, whole turns cut, edits weighted by what they changed."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from loop.settings import EditSettings, TrainingSettings
from loop.settings.constants import CHOSEN_NLL, DESIRABLE_NLL
from loop.training.batch.tokens import UNCHANGED, encode, span_weights
from loop.types import Branch, Example, FeedbackKind, Message, Objective, Split
from tests.tiny import tiny_tokenizer

SETTINGS = TrainingSettings()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def example(
    *answers: str,
    objective: Objective = Objective.PAIR,
    signal: FeedbackKind = FeedbackKind.COMPARISON,
    prompt: tuple[Message, ...] = (Message("user", "Where is my parcel?"),),
    score: float = 1.0,
) -> Example:
    """Scores fall evenly from `score` to its opposite."""
    last = max(1, len(answers) - 1)
    return Example(
        example_id="-".join(answers),
        objective=objective,
        signal=signal,
        prompt=prompt,
        branches=tuple(
            Branch(Message("assistant", text), score * (1 - 2 * place / last)) for place, text in enumerate(answers)
        ),
        split=Split.TRAIN,
        cluster="user",
        tenant="default",
        conversation_id="c",
        observed_at=datetime(2026, 1, 1, tzinfo=UTC),
        event_ids=("e",),
    )


def test_an_answer_ends_in_exactly_one_end_of_turn(tokenizer):
    encoded = encode([example("On its way.", "No idea.<|im_end|>")], tokenizer, SETTINGS).examples[0]
    for answer in encoded.answers:
        assert answer.ids.count(tokenizer.eos_token_id) == 1
        assert answer.ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(encoded.sequences[0]).endswith("assistant\nOn its way.<|im_end|>")


def test_empty_and_equal_answers_are_dropped_and_counted(tokenizer):
    encoding = encode([example("", "No idea."), example("Same.", "Same."), example("A.", "B.")], tokenizer, SETTINGS)
    assert (len(encoding.examples), encoding.dropped, encoding.truncated) == (1, 2, 0)


def test_what_has_aged_to_no_weight_is_dropped(tokenizer):
    encoding = encode([example("no", "yes", score=0.0), example("blue", "red")], tokenizer, SETTINGS)
    assert ([made.credit.weight for made in encoding.examples], encoding.dropped) == ([1.0], 1)


def test_a_long_conversation_loses_its_oldest_turns_but_not_its_system_message(tokenizer):
    turns = [Message(role, f"{role} says number {i}") for i in range(10) for role in ("user", "assistant")]
    long = example("Yes.", "No.", prompt=(Message("system", "Be brief."), *turns, Message("user", "And now?")))
    encoding = encode([long], tokenizer, TrainingSettings(max_tokens=120))
    text = tokenizer.decode(encoding.examples[0].prompt)
    assert encoding.truncated == 1
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user")
    assert "And now?" in text
    assert "number 0" not in text
    assert max(map(len, encoding.examples[0].sequences)) <= 120


def test_what_does_not_fit_even_alone_is_dropped_and_never_cut(tokenizer):
    encoding = encode([example("word " * 100, "No.")], tokenizer, TrainingSettings(max_tokens=60))
    assert (encoding.examples, encoding.dropped) == ((), 1)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("abcd", "abXd", {2}),
        ("abd", "abXYd", {2, 3}),
        ("abcd", "abd", {2}),
        ("abcd", "abcd", set()),
    ],
)
def test_only_what_an_edit_changed_weighs_fully(before, after, changed):
    weights = span_weights([*map(ord, before)], [*map(ord, after)])
    assert {i for i, weight in enumerate(weights) if weight == 1.0} == changed
    assert all(weight == UNCHANGED for i, weight in enumerate(weights) if i not in changed)


@pytest.mark.parametrize(
    ("made", "share"),
    [
        (example("A.", "B."), CHOSEN_NLL),
        (example("A.", "B.", signal=FeedbackKind.EDIT), 1.0),
        (example("A.", objective=Objective.DEMONSTRATION, signal=FeedbackKind.DEMONSTRATION), 1.0),
        (example("A.", objective=Objective.UNPAIRED, signal=FeedbackKind.THUMB), DESIRABLE_NLL),
        (example("A.", objective=Objective.UNPAIRED, signal=FeedbackKind.THUMB, score=-1.0), 0.0),
    ],
)
def test_the_nll_counts_by_what_the_feedback_was(tokenizer, made, share):
    assert encode([made], tokenizer, SETTINGS).examples[0].credit.nll_share == share


def test_a_ranking_keeps_its_order_and_counts_as_its_lighter_end(tokenizer):
    made = example("A.", "B.", "C.", objective=Objective.RANKING, signal=FeedbackKind.OUTCOME, score=0.5)
    uneven = replace(made, branches=(replace(made.branches[0], score=1.0), *made.branches[1:]))
    beside = example("A.", "B.")
    ranking, pair = encode([uneven, beside], tokenizer, SETTINGS).examples
    assert ranking.credit.scores == (1.0, 0.0, -0.5)
    assert ranking.credit.weight == pytest.approx(pair.credit.weight / 2)
    assert ranking.credit.nll_share == CHOSEN_NLL
    assert [tokenizer.decode(answer.ids[:-1]) for answer in ranking.answers] == ["A.", "B.", "C."]


def test_a_ranking_that_is_larger_than_a_pair_may_be_keeps_its_ends_and_answers_between(tokenizer):
    words = ("one", "two", "three", "four", "five", "six")
    made = example(*words, objective=Objective.RANKING, signal=FeedbackKind.OUTCOME)
    room = max(map(len, encode([made], tokenizer, SETTINGS).examples[0].sequences))
    encoding = encode([made], tokenizer, replace(SETTINGS, max_tokens=2 * room))
    (kept,) = encoding.examples
    assert [tokenizer.decode(answer.ids[:-1]) for answer in kept.answers] == ["one", "three", "four", "six"]
    assert kept.credit.scores == pytest.approx((1.0, 0.2, -0.2, -1.0))
    assert (encoding.truncated, encoding.dropped) == (1, 0)


def test_thumbs_up_and_down_weigh_the_same_in_all(tokenizer):
    thumbs = [
        example(f"Answer {i}.", objective=Objective.UNPAIRED, signal=FeedbackKind.THUMB, score=1.0 if i % 3 else -1.0)
        for i in range(9)
    ]
    encoded = encode(thumbs, tokenizer, SETTINGS).examples
    totals = [sum(e.credit.weight for e in encoded if e.credit.approved is verdict) for verdict in (True, False)]
    assert totals == pytest.approx([4.5, 4.5])


def test_one_thumb_against_many_is_not_blown_up(tokenizer):
    thumbs = [
        example(f"Answer {i}.", objective=Objective.UNPAIRED, signal=FeedbackKind.THUMB, score=1.0 if i else -1.0)
        for i in range(30)
    ]
    encoded = encode(thumbs, tokenizer, SETTINGS).examples
    assert encoded[0].credit.weight / encoded[1].credit.weight == pytest.approx(4.0 / (30 / (2 * 29)))


def test_weights_are_one_on_average(tokenizer):
    made = [example("A.", "B.", score=0.2), example("C.", "D.", score=0.6)]
    assert [e.credit.weight for e in encode(made, tokenizer, SETTINGS).examples] == pytest.approx([0.5, 1.5])


def test_an_edit_can_be_trained_as_a_demonstration_of_the_whole_answer(tokenizer):
    edit = example("On its way today.", "On its way.", signal=FeedbackKind.EDIT)
    as_pair = encode([edit], tokenizer, SETTINGS).examples[0]
    alone = encode([edit], tokenizer, replace(SETTINGS, edit=EditSettings(type="demonstration"))).examples[0]
    assert (as_pair.credit.objective, len(as_pair.answers)) == (Objective.PAIR, 2)
    assert alone.credit.objective is Objective.DEMONSTRATION
    assert [answer.ids for answer in alone.answers] == [as_pair.answers[0].ids]
    assert set(alone.answers[0].nll_weights) == {1.0} != set(as_pair.answers[0].nll_weights)
