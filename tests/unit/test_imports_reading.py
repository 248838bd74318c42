import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.imports import START, decoders, read
from loop.errors import UsageError
from loop.intake.events import dead_letter, encode
from loop.intake.wire import MAX_EVENT_BYTES
from loop.types import DeadLetter, Feedback, FeedbackKind, Interaction, Message, ToolCall, Verifier, VerifierKind
from tests.builders import KEY

ASK = {"role": "user", "content": "2+2?"}
SAY = {"role": "assistant", "content": "4"}
QUESTION = {
    "question": "How many?",
    "ground_truth": "500 x 2\nA: 1,000",
    "6b_finetuning": {"is_correct": False, "solution": "A: 7"},
    "175b_verification": {"is_correct": True, "solution": "A: 1000"},
}
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{}"}}


def test_our_own_format_gives_back_what_was_encoded(imported):
    letter = dead_letter("old.jsonl", 3, "no JSON", b"\xff")
    (chat,) = imported("openai-chat", {"messages": [ASK, SAY]})
    assert imported("nightshift", *(encode(event).payload.decode() for event in (chat, letter))) == [chat, letter]


def test_a_file_read_twice_gives_the_same_events(imported):
    assert imported("gsm8k", QUESTION) == imported("gsm8k", QUESTION, name="renamed.jsonl")


def test_blank_lines_and_windows_line_ends_and_byte_order_marks_change_nothing(tmp_path):
    plain, odd = tmp_path / "plain.jsonl", tmp_path / "odd.jsonl"
    line = json.dumps(QUESTION).encode()
    plain.write_bytes(line)
    odd.write_bytes(b"\xef\xbb\xbf" + line + b"\r\n\r\n  \n")
    assert list(read(odd, "gsm8k", secret=KEY)) == list(read(plain, "gsm8k", secret=KEY))


def test_lines_without_a_time_are_a_second_apart_and_feedback_comes_a_second_later(imported):
    events = imported(
        "openai-chat", *({"messages": [ASK, SAY], "id": f"i{n}", "feedback": {"thumb": 1}} for n in (1, 2))
    )
    seconds = [(event.occurred_at - START).total_seconds() for event in events]
    assert seconds == [1, 2, 2, 3]


def test_an_import_can_be_given_the_time_it_starts_at(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [ASK, SAY]}))
    start = datetime(2026, 6, 1, tzinfo=UTC)
    (event,) = read(tmp_path / "a.jsonl", "openai-chat", secret=KEY, start=start)
    assert event.occurred_at == start + timedelta(seconds=1)


def test_an_unknown_format_is_a_usage_error_that_lists_the_formats(tmp_path):
    with pytest.raises(UsageError) as refused:
        read(tmp_path, "csv", secret=KEY)
    assert all(name in refused.value.remedy for name in decoders)


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_missing_file_and_a_folder_are_usage_errors(tmp_path, name):
    with pytest.raises(UsageError, match="not a readable file"):
        read(tmp_path / name, "pairs", secret=KEY)


def test_a_bad_line_is_kept_with_its_place_and_reason_and_the_next_is_read(imported):
    events = imported("openai-chat", {"messages": [ASK, SAY]}, "", '{"messages": [', {"messages": [SAY, ASK, SAY]})
    assert [type(event) for event in events] == [Interaction, DeadLetter, Interaction]
    letter = events[1]
    assert (letter.source, letter.position, letter.payload) == ("log.jsonl", 3, b'{"messages": [')
    assert "JSON" in letter.reason


def test_a_line_larger_than_an_event_is_cut_kept_and_does_not_hide_the_next(imported):
    huge = json.dumps({"messages": [ASK, {"role": "assistant", "content": "x" * 3 * MAX_EVENT_BYTES}]})
    letter, chat = imported("openai-chat", huge, {"messages": [ASK, SAY]})
    assert "larger than" in letter.reason
    assert huge.encode().startswith(letter.payload)
    assert "bytes are kept" in letter.reason
    assert encode(letter).key == letter.letter_id
    assert isinstance(chat, Interaction)


def test_the_answers_to_a_question_share_prompt_and_cluster_and_have_outcomes(imported):
    events = imported("gsm8k", QUESTION)
    answers = [event for event in events if isinstance(event, Interaction)]
    outcomes = {event.interaction_id: event.value for event in events if isinstance(event, Feedback)}
    assert [answer.model for answer in answers] == ["6b_finetuning@gsm8k", "175b_verification@gsm8k"]
    assert [outcomes[answer.interaction_id] for answer in answers] == [0.0, 1.0]
    assert {answer.messages for answer in answers} == {(Message("user", "How many?"),)}
    assert len({answer.user_key for answer in answers}) == 1
    assert {answer.verifiers for answer in answers} == {(Verifier(VerifierKind.NUMERIC, "1000"),)}


def test_a_worked_solution_is_a_demonstration_in_the_cluster_of_its_question(imported):
    answer, demonstration = imported("gsm8k-solutions", {"question": "How many?", "answer": "5 - 7\n#### -2.5"})
    assert (demonstration.kind, demonstration.text) == (FeedbackKind.DEMONSTRATION, "5 - 7\n#### -2.5")
    assert demonstration.interaction_id == answer.interaction_id
    assert answer.verifiers == (Verifier(VerifierKind.NUMERIC, "-2.5"),)
    assert answer.user_key == imported("gsm8k", QUESTION)[0].user_key


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({**QUESTION, "ground_truth": "many"}, "does not end in"),
        ({**QUESTION, "6b_finetuning": "A: 7"}, "6b_finetuning"),
        ({**QUESTION, "6b_finetuning": {"is_correct": "no", "solution": "A: 7"}}, "6b_finetuning.is_correct"),
        ({"question": "How many?", "ground_truth": "A: 3"}, "no model"),
    ],
)
def test_a_question_of_another_shape_is_one_dead_letter_and_no_half_of_it_is_kept(imported, line, reason):
    (letter,) = imported("gsm8k", line)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason


def conversation(task_id: int, trial: int, *turns: object) -> dict[str, object]:
    return {"task_id": task_id, "trial": trial, "reward": 1.0, "info": {"n": [1, "]"]}, "traj": list(turns)}


def test_a_conversation_is_its_last_answer_with_the_reward_of_all_of_it(imported):
    turns = ASK, {"role": "assistant", "content": None, "tool_calls": [CALL]}, {"role": "user", "content": "###STOP###"}
    array = json.dumps([conversation(3, trial, ASK, SAY, *turns) for trial in (0, 1)], indent=1)
    first, reward, second, _ = imported("tau-bench", array, name="gpt-4o-airline.json")
    assert first.response == Message("assistant", "", (ToolCall(call_id="c1", name="find", arguments="{}"),))
    assert [turn.role for turn in first.messages] == ["user", "assistant", "user"]
    assert first.model == "gpt-4o@tau-bench"
    assert (reward.kind, reward.value, reward.whole_conversation) == (FeedbackKind.OUTCOME, 1.0, True)
    assert first.user_key == second.user_key
    assert first.conversation_id != second.conversation_id


@pytest.mark.parametrize("array", ["[]", " [ ]\n", "[\n\n]", ""])
def test_an_empty_array_has_no_events(imported, array):
    assert imported("tau-bench", array) == []


def test_bad_elements_of_an_array_are_kept_and_the_others_read(imported):
    good = json.dumps(conversation(1, 0, ASK, SAY))
    bad = '{"task_id": tru}'
    events = imported("tau-bench", f"[{good}, {bad}, {good.replace('1', '2')}, 7]")
    assert [type(event) for event in events] == [Interaction, Feedback, DeadLetter, Interaction, Feedback, DeadLetter]
    assert [(event.position, event.payload) for event in events if isinstance(event, DeadLetter)] == [
        (2, bad.encode()),
        (4, b"7"),
    ]


def test_an_array_that_ends_too_early_keeps_its_rest(imported):
    good = json.dumps(conversation(1, 0, ASK, SAY))
    *_, letter = imported("tau-bench", f"[{good}, {good[:49]}")
    assert letter.payload == good[:49].encode()


def test_conversations_one_per_line_are_read_too(imported):
    assert len(imported("tau-bench", conversation(1, 0, ASK, SAY), conversation(1, 1, ASK, SAY))) == 4


def test_a_strange_file_name_does_not_stop_an_import(tmp_path):
    path = Path(str(tmp_path) + "/log-\udcff.jsonl")
    path.write_text("{")
    (letter,) = read(path, "pairs", secret=KEY)
    assert encode(letter).payload
