import pytest

from loop.settings import CurationSettings
from loop.settings.constants import MAX_CHARS, PAIRS_PER_PROMPT
from loop.types import Feedback, FeedbackKind, Interaction, Message, Objective, Split
from tests.feedback import answers, ask, made, tell

OUTCOME = FeedbackKind.OUTCOME
Events = list[Interaction | Feedback]


def judged(values: dict[str, float], **fields: str) -> Events:
    asked = [ask(name, answer=f"answer {name}", **fields) for name in values]
    return [*asked, *(tell(name, OUTCOME, value) for name, value in values.items())]


def test_correct_answers_win_against_incorrect_ones_to_the_same_prompt() -> None:
    assert answers(made(judged({"a": 1.0, "b": 0.0}))) == [("pair", "+answer a", "-answer b")]


def test_outcomes_without_an_opposite_stay_verdicts() -> None:
    assert answers(made(judged({"a": 1.0, "b": 0.75}))) == [
        ("unpaired", "+answer a"),
        ("unpaired", "+answer b"),
    ]


def test_an_outcome_of_one_half_says_nothing() -> None:
    assert made(judged({"a": 0.5})).report["neutral"] == 1


@pytest.mark.parametrize(("right", "wrong", "most"), [("a", "", 0), ("a", "c", 1), ("ab", "cd", 4), ("ab", "cdefg", 4)])
def test_a_prompt_makes_no_more_pairs_than_it_may_and_every_other_outcome_stays(
    right: str, wrong: str, most: int
) -> None:
    values = dict.fromkeys(right, 1.0) | dict.fromkeys(wrong, 0.0)
    examples = made(judged(values)).examples
    pairs = [tuple(b.response.content for b in e.branches) for e in examples if e.objective is Objective.PAIR]
    alone = {e.branches[0].response.content for e in examples if e.objective is Objective.UNPAIRED}

    assert len(set(pairs)) == len(pairs) == most
    assert alone == {f"answer {name}" for name in values} - {text for pair in pairs for text in pair}


def test_answers_whose_outcomes_have_more_than_two_values_are_ranked_by_them() -> None:
    (ranking,) = made(judged({"a": 0.25, "b": 1.0, "c": 0.75, "d": 0.25, "e": 0.0})).examples

    assert ranking.objective is Objective.RANKING
    assert [branch.response.content for branch in ranking.branches] == [f"answer {name}" for name in "bcade"]
    assert [branch.score for branch in ranking.branches] == [1.0, 0.5, -0.5, -0.5, -1.0]
    assert len(ranking.event_ids) == 10


def test_a_ranking_of_shared_outcomes_has_the_share_that_its_least_sure_answer_has() -> None:
    before = (Message("user", "Hi"), Message("assistant", "Hello!"))
    long = [ask("long", before=before), tell("long", OUTCOME, 1.0, whole=True)]
    short = [ask(name, prompt="Hi", answer=name) for name in ("Good day.", "What?")]
    told = [tell("Good day.", OUTCOME, 0.75), tell("What?", OUTCOME, 0.0)]
    rankings = [e for e in made([*long, *short, *told]).examples if e.objective is Objective.RANKING]

    assert [[(b.response.content, b.score) for b in e.branches] for e in rankings] == [
        [("Hello!", 0.5), ("Good day.", 0.25), ("What?", -0.5)]
    ]


def test_a_ranking_has_as_many_answers_as_the_pairs_might_have_and_the_others_stay() -> None:
    values = {f"{n:02}": n / 19 for n in range(20)}
    examples = made(judged(values)).examples
    (ranking,) = [e for e in examples if e.objective is Objective.RANKING]

    assert len(ranking.branches) == 2 * PAIRS_PER_PROMPT
    assert sum(len(e.branches) for e in examples) == 20
    assert (ranking.branches[0].score, ranking.branches[-1].score) == (1.0, -1.0)


def test_an_empty_answer_is_left_out_of_a_ranking_and_counted_alone() -> None:
    events = judged({"a": 1.0, "b": 0.75, "c": 0.25})
    curated = made([*events, ask("d", answer=" "), tell("d", OUTCOME, 0.0)])

    assert answers(curated) == [("ranking", "+answer a", "+answer b", "-answer c")]
    assert curated.report["empty_answers"] == 1


def test_a_ranking_that_is_too_long_keeps_its_ends_and_is_counted() -> None:
    asked = [ask(f"{n}", answer=f"{n}" * (MAX_CHARS // 4)) for n in range(5)]
    told = [tell(f"{n}", OUTCOME, n / 4 if n != 2 else 0.6) for n in range(5)]
    curated = made([*asked, *told])

    assert [[b.response.content[0] for b in e.branches] for e in curated.examples] == [["4", "2", "0"]]
    assert (curated.report["shortened"], curated.report.get("too_long")) == (1, None)


def test_outcomes_that_are_all_right_are_not_ranked() -> None:
    assert {e.objective for e in made(judged({"a": 1.0, "b": 0.75, "c": 0.6})).examples} == {Objective.UNPAIRED}


def test_pairs_spread_over_the_answers() -> None:
    examples = made(judged(dict.fromkeys("abc", 1.0) | dict.fromkeys("def", 0.0))).examples
    pairs = [example for example in examples if example.objective is Objective.PAIR]

    assert len(pairs) == 4
    assert len({branch.response for example in pairs for branch in example.branches}) == 6


def test_a_text_that_was_both_right_and_wrong_is_in_no_pair() -> None:
    events = judged({"a": 1.0, "b": 0.0})
    same = [ask("c", answer="answer a"), tell("c", OUTCOME, 0.0)]

    assert not [e for e in made([*events, *same]).examples if e.objective is Objective.PAIR]


def test_users_of_different_splits_never_share_a_pair() -> None:
    half = CurationSettings(vault_share=0.5, dev_share=0.0)
    asked = [ask(f"i{n}", user=f"user {n}", answer=f"answer {n}") for n in range(40)]
    told = [tell(f"i{n}", OUTCOME, float(n % 2), user=f"user {n}") for n in range(40)]
    examples = made([*asked, *told], half).examples
    split_of_answer: dict[str, set[Split]] = {}
    for example in examples:
        for branch in example.branches:
            split_of_answer.setdefault(branch.response.content, set()).add(example.split)

    assert {example.split for example in examples if example.objective is Objective.PAIR} == {Split.TRAIN, Split.VAULT}
    assert all(len(splits) == 1 for splits in split_of_answer.values())


def test_an_outcome_of_a_conversation_is_shared_by_its_assistant_turns() -> None:
    before = (Message("system", "Be kind."), Message("user", "Hi"), Message("assistant", "Hello!"))
    examples = made([ask("a", before=before, answer="Paris."), tell("a", OUTCOME, 0.0, whole=True)]).examples
    by_answer = {example.branches[0].response.content: example for example in examples}

    assert by_answer["Hello!"].prompt == before[:2]
    assert by_answer["Paris."].prompt == (*before, Message("user", "What is the capital of France?"))
    assert {example.branches[0].score for example in examples} == {-0.5}


def test_conversations_that_begin_alike_are_compared_where_they_part() -> None:
    def trial(name: str, first: str) -> Interaction:
        before = (Message("user", "Hi"), Message("assistant", first))
        return ask(name, before=before, prompt=f"Prompt of {name}", answer=f"Answer of {name}")

    events = [trial("good", "Hello!"), trial("bad", "What?")]
    told = [tell("good", OUTCOME, 1.0, whole=True), tell("bad", OUTCOME, 0.0, whole=True)]

    assert answers(made([*events, *told])) == [
        ("pair", "+Hello!", "-What?"),
        ("unpaired", "+Answer of good"),
        ("unpaired", "-Answer of bad"),
    ]


def test_a_turn_judged_by_the_conversation_and_by_a_thumb_is_one_example() -> None:
    turn = ask("turn", conversation="c", prompt="Hi", answer="Hello!")
    last = ask("last", conversation="c", before=(Message("user", "Hi"), turn.response), days=0.1)
    curated = made([turn, last, tell("turn", value=1.0), tell("last", OUTCOME, 1.0, whole=True)])

    assert answers(curated) == [("unpaired", "+Hello!"), ("unpaired", "+The answer called last")]
    assert any({"turn", "last"} <= set(example.event_ids) for example in curated.examples)
