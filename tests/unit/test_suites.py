import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evals import suites
from evals.evidence import collect
from evals.suites import preference
from evals.task import Task, run, task_sha256
from loop.ports import Generation
from loop.settings import EvaluationSettings
from loop.types import (
    Branch,
    Example,
    FeedbackKind,
    Json,
    Message,
    Objective,
    Sampling,
    Split,
    SuiteEvidence,
    SuiteRole,
    Verifier,
)
from loop.types import VerifierKind as Kind
from tests.canned import Canned

DAY = datetime(2026, 1, 10, tzinfo=UTC)
SETTINGS = EvaluationSettings()
SHAPES = {1: Objective.UNPAIRED, 2: Objective.PAIR, 4: Objective.RANKING}
SHORT = Verifier(Kind.MAX_WORDS, "5")


def example(
    text: str,
    *answers: tuple[str, float],
    signal: FeedbackKind = FeedbackKind.EDIT,
    user: str = "u1",
    age_days: float = 0,
    verifiers: tuple[Verifier, ...] = (),
) -> Example:
    return Example(
        example_id=f"{user} {text} {answers} {signal}",
        objective=SHAPES[len(answers)],
        signal=signal,
        prompt=(Message("user", text),),
        branches=tuple(Branch(Message("assistant", answer), score) for answer, score in answers),
        split=Split.VAULT,
        cluster=user,
        tenant="default",
        conversation_id=text,
        observed_at=DAY - timedelta(days=age_days),
        event_ids=(text,),
        verifiers=verifiers,
    )


EDITED = example("late?", ("sorry, soon", 1.0), ("no", -1.0), verifiers=(SHORT,))
APPROVED = example("hours?", ("nine to five", 1.0), signal=FeedbackKind.THUMB, user="u2")
DISLIKED = example("rude?", ("go away", -1.0), signal=FeedbackKind.THUMB, user="u3")
CHECKED = example("json?", ("bad", -1.0), signal=FeedbackKind.THUMB, user="u4", verifiers=(SHORT,))
VAULT = (EDITED, APPROVED, DISLIKED, CHECKED)


Told = tuple[str, int, int, str]


def gather(
    cache: Path,
    made: Sequence[Task],
    candidate: Canned,
    champion: Canned,
    anchor: Canned | None = None,
    told: list[Told] | None = None,
) -> tuple[tuple[SuiteEvidence, ...], list[dict[str, Json]]]:
    """`collect`, two answers at a time; what it says of its progress goes into `told`."""
    return collect(
        made,
        candidate=candidate,
        champion=champion,
        anchor=anchor,
        cache=cache,
        chunk=2,
        progress=lambda *said: told.append(said) if told is not None else None,
    )


def test_checks_of_form_alone_do_not_show_a_better_answer_but_checks_of_content_do() -> None:
    known = replace(CHECKED, verifiers=(SHORT, Verifier(Kind.NUMERIC, "4")))
    assert not tasks((CHECKED,))["answers"].items
    assert asked(tasks((known,))["answers"]) == {"json?"}


def tasks(vault: Sequence[Example] = VAULT, settings: EvaluationSettings = SETTINGS) -> dict[str, Task]:
    return {task.name: task for task in suites.held_out((), vault, settings, 100)}


def asked(task: Task) -> set[str]:
    return {item.prompt[-1].content for item in task.items}


def test_each_suite_has_its_role_and_the_examples_that_can_be_judged_by_it() -> None:
    made = tasks()
    assert {name: task.role for name, task in made.items()} == {
        "answers": SuiteRole.SUPERIORITY,
        "approved": SuiteRole.GUARD,
        "format": SuiteRole.GUARD,
        "preference": SuiteRole.REPORT,
    }
    assert asked(made["answers"]) == {"late?", "hours?"}
    assert asked(made["approved"]) == {"hours?"}
    assert asked(made["format"]) == {"late?", "json?"}
    assert asked(made["preference"]) == {"late?"}


def test_of_a_ranking_the_better_answers_are_references_and_its_ends_are_the_preference() -> None:
    ranked = example(
        "which?", ("best", 1.0), ("good", 0.5), ("poor", -0.2), ("worst", -1.0), signal=FeedbackKind.OUTCOME
    )
    (item,) = tasks((ranked,))["preference"].items
    assert item.references == ("good", "best")
    assert item.rejected == ("poor", "worst")
    assert tasks((ranked,))["answers"].items == (item,)
    assert preference.log_probabilities(Canned("a"), [item], Sampling()) == [json.dumps([-4.0, -5.0])]


def test_one_user_asking_the_same_twice_is_one_item_and_two_users_are_two() -> None:
    again = example("late?", ("it comes tomorrow", 1.0), signal=FeedbackKind.THUMB)
    other = replace(again, cluster="u9", example_id="other")
    items = tasks((EDITED, again, other))["answers"].items
    assert sorted((item.cluster, len(item.references)) for item in items) == [("u1", 2), ("u9", 1)]


def test_an_approval_that_somebody_contradicted_guards_nothing() -> None:
    against = example("hours?", ("nine to five", -1.0), signal=FeedbackKind.REGENERATE, user="u2")
    assert tasks((APPROVED, against))["approved"].items == ()


def test_only_the_newest_items_of_the_window_judge() -> None:
    vault = [example(f"q{age}", ("a", 1.0), age_days=age) for age in range(5)]
    assert asked(tasks(vault, EvaluationSettings(max_items=2))["answers"]) == {"q0", "q1"}
    assert asked(tasks(vault, EvaluationSettings(window_days=3.0))["answers"]) == {"q0", "q1", "q2"}
    assert len(tasks(vault, EvaluationSettings(window_days=0))["answers"].items) == 5


def test_a_malformed_verifier_and_a_bare_tool_call_judge_nothing() -> None:
    broken = example("x", ("", 1.0), verifiers=(Verifier(Kind.REGEX, "("),))
    assert tasks((broken,))["answers"].items == ()


def test_no_item_lacks_a_score() -> None:
    for task in suites.held_out((), VAULT, SETTINGS, 100):
        assert all(score.value is not None for score in run(task, Canned("m")))


def test_suites_do_not_depend_on_the_order_of_examples_and_change_with_their_content() -> None:
    first = {name: task_sha256(task) for name, task in tasks().items()}
    assert {name: task_sha256(task) for name, task in tasks(VAULT[::-1]).items()} == first
    assert task_sha256(tasks((EDITED,))["answers"]) != first["answers"]


def test_evidence_pairs_every_item_and_shows_the_anchor_to_superiority_suites_only(tmp_path: Path) -> None:
    better, base = Canned("c", {"late?": "sorry, soon"}), Canned("b")
    found, table = gather(tmp_path, [*tasks().values()], candidate=better, champion=base, anchor=Canned("a"))
    by_name = {suite.suite: suite for suite in found}
    assert [*by_name] == ["answers", "approved", "format", "preference", "implicit_reward"]
    late = next(score for score in by_name["answers"].scores if score.cluster == "u1")
    assert late.candidate == 1.0
    assert late.champion is not None
    assert late.champion < 1.0
    assert late.anchor == late.champion
    assert all(score.anchor is None for score in by_name["format"].scores)
    row = next(row for row in table if row["prompt"] == "late?")
    assert (row["candidate_answer"], row["champion_answer"], row["candidate_score"]) == ("sorry, soon", "hm", 1.0)
    assert [row["prompt"] for row in table] == [item.prompt[-1].content for item in tasks()["answers"].items]


def test_the_implicit_reward_is_relative_to_the_champion(tmp_path: Path) -> None:
    likes_long, likes_short = Canned("c", per_character=1.0), Canned("b", per_character=-1.0)
    for candidate, expected in ((likes_long, 1.0), (likes_short, 0.5), (Canned("d", per_character=-2.0), 0.0)):
        found, _ = gather(tmp_path, [tasks()["preference"]], candidate=candidate, champion=likes_short)
        assert [(score.candidate, score.champion) for score in found[1].scores] == [(expected, 0.5)]


def test_an_answer_is_drawn_once_and_known_when_the_candidate_comes_back_as_champion(tmp_path: Path) -> None:
    made = [*tasks().values()]
    first, second = Canned("one"), Canned("two")
    gather(tmp_path, made, candidate=second, champion=first)
    assert sorted(second.asked) == ["hours?", "json?", "late?"]
    again = Canned("two", {"late?": "must not be asked"})
    newer = example("new?", ("yes", 1.0), user="u8")
    grown = [*tasks((*VAULT, newer)).values()]
    gather(tmp_path, grown, candidate=Canned("three"), champion=again)
    assert again.asked == ["new?"]


def test_every_chunk_says_how_far_it_is_and_what_was_answered_is_not_asked_again_after_a_kill(tmp_path: Path) -> None:
    class Killed(Canned):
        def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
            if len(self.asked) >= 2:
                raise KeyboardInterrupt
            return super().generate(prompts, sampling)

    made = [tasks([example(f"q{number}", ("a", 1.0)) for number in range(5)])["answers"]]
    told: list[Told] = []
    killed, again = Killed("one"), Canned("one")
    with pytest.raises(KeyboardInterrupt):
        gather(tmp_path, made, candidate=killed, champion=Canned("two"), told=told)
    gather(tmp_path, made, candidate=again, champion=Canned("two"), told=told)

    assert sorted(killed.asked + again.asked) == [f"q{number}" for number in range(5)]
    assert [done for _, done, _, _ in told] == [0, 2, 2, 4, 5, 7, 9, 10]
    assert {(stage, of) for stage, _, of, _ in told} == {("evaluate", 10)}


@pytest.mark.parametrize("damage", ["", "{", "[1]", '"text"', '{"sha256": "0", "known": {}}'])
def test_a_damaged_cache_is_answered_anew(tmp_path: Path, damage: str) -> None:
    (tmp_path / "one.json").write_text(damage)
    model = Canned("one")
    gather(tmp_path, [tasks()["answers"]], candidate=model, champion=Canned("two"))
    assert sorted(model.asked) == ["hours?", "late?"]


def test_no_held_out_examples_are_empty_suites(tmp_path: Path) -> None:
    found, table = gather(tmp_path, [*tasks(()).values()], candidate=Canned("a"), champion=Canned("b"))
    assert all(suite.scores == () for suite in found)
    assert table == []
