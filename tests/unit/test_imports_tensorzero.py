import json
from datetime import UTC, datetime, timedelta

import pytest

from loop.intake.events import encode, pseudonym
from loop.types import DeadLetter, Feedback, FeedbackKind, Interaction, Message, Sampling, ToolCall, VerifierKind
from tests.builders import KEY
from tests.reaching import reached

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def uuid7(number: int, at: datetime = NOON) -> str:
    digits = f"{round(at.timestamp() * 1000):012x}7000{0x8000000000000000 + number:016x}"
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


EPISODE = uuid7(900)
ASKED = {
    "system": "You answer for a shop.",
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
}
CALL = {
    "type": "tool_call",
    "id": "c1",
    "raw_name": "find_order",
    "raw_arguments": '{"number": 7}',
    "name": "find_order",
    "arguments": {"number": 7},
}


def chat(number: int, *blocks: object, **changed: object) -> dict[str, object]:
    """A row of ChatInference as `FORMAT JSONEachRow` writes it: JSON columns are text."""
    return {
        "id": uuid7(number),
        "function_name": "help_desk",
        "variant_name": "small_model",
        "episode_id": EPISODE,
        "input": json.dumps(ASKED),
        "output": json.dumps(list(blocks) or [{"type": "text", "text": "Hello."}]),
        "tool_params": "",
        "inference_params": '{"chat_completion":{"temperature":0.5,"max_tokens":100,"seed":7}}',
        "processing_time_ms": 321,
        "timestamp": "2026-03-01 12:00:00",
        "tags": {"user_id": "ann@example.org"},
        "snapshot_hash": "1",
        **changed,
    }


def metric(number: int, target: str, value: object, **changed: object) -> dict[str, object]:
    return {"id": uuid7(number), "target_id": target, "metric_name": "solved", "value": value, "tags": {}, **changed}


def said(*content: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def test_a_chat_inference_is_an_interaction_of_its_episode_and_hides_its_user(imported):
    (event,) = imported("tensorzero", chat(1))
    assert (event.interaction_id, event.conversation_id, event.occurred_at) == (uuid7(1), EPISODE, NOON)
    assert event.messages == (Message("system", "You answer for a shop."), Message("user", "Hi"))
    assert (event.response, event.model) == (Message("assistant", "Hello."), "help_desk@small_model")
    assert event.sampling == Sampling(temperature=0.5, max_tokens=100, seed=7)
    assert event.user_key == pseudonym(KEY, "ann@example.org")
    assert b"ann@" not in encode(event).payload


def test_columns_of_json_may_be_structures_and_the_api_calls_the_id_of_a_row_inference_id(imported):
    row = chat(1) | {"input": ASKED, "output": [{"type": "text", "text": "Hello."}], "inference_params": None}
    row["inference_id"] = row.pop("id")
    row["timestamp"] = "2026-03-01T12:00:00Z"
    (event,), (expected,) = imported("tensorzero", row), imported("tensorzero", chat(1))
    assert (event.messages, event.response) == (expected.messages, expected.response)
    assert (event.interaction_id, event.occurred_at) == (expected.interaction_id, expected.occurred_at)
    assert event.sampling is None


def test_a_row_without_a_time_has_the_time_of_its_uuid(imported):
    later = NOON + timedelta(milliseconds=1234)
    row = chat(1) | {"id": uuid7(1, later)}
    del row["timestamp"]
    assert imported("tensorzero", row)[0].occurred_at == later


def test_a_row_without_any_time_has_the_time_of_its_line(imported):
    row = chat(1) | {"id": "an id of our own", "timestamp": None}
    assert imported("tensorzero", row)[0].occurred_at == datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_an_answer_of_a_json_function_is_its_raw_text_checked_by_its_schema(imported):
    schema = '{"type":"object","required":["city"]}'
    output = '{"raw":"{\\"city\\": \\"Oslo\\"}","parsed":{"city":"Oslo"}}'
    (event,) = imported("tensorzero", chat(1, output=output, output_schema=schema, auxiliary_content="[]"))
    assert event.response == Message("assistant", '{"city": "Oslo"}')
    assert [(check.kind, check.target) for check in event.verifiers] == [(VerifierKind.JSON_SCHEMA, schema)]


def test_tool_calls_and_their_results_are_messages_and_thoughts_are_left_out(imported):
    call = {"type": "tool_call", "id": "c0", "name": "find_order", "arguments": '{"number": 6}'}
    result = {"type": "tool_result", "id": "c0", "name": "find_order", "result": "none"}
    turns = [
        {"role": "user", "content": [{"type": "text", "value": "Where is it?"}]},
        {"role": "assistant", "content": [{"type": "thought", "text": "Look it up."}, call]},
        {"role": "user", "content": [result, {"type": "raw_text", "value": "Look again."}]},
    ]
    (event,) = imported("tensorzero", chat(1, {"type": "text", "text": "Once more."}, CALL, input={"messages": turns}))
    made = ToolCall(call_id="c0", name="find_order", arguments='{"number": 6}')
    assert event.messages == (
        Message("user", "Where is it?"),
        Message("assistant", "", (made,)),
        Message("tool", "none", (), "c0"),
        Message("user", "Look again."),
    )
    assert event.response.tool_calls == (ToolCall(call_id="c1", name="find_order", arguments='{"number": 7}'),)


@pytest.mark.parametrize(
    ("row", "signal"),
    [
        (metric(5, uuid7(1), True), (FeedbackKind.THUMB, 1.0, None)),
        (metric(5, uuid7(1), False), (FeedbackKind.THUMB, -1.0, None)),
        (metric(5, uuid7(1), 4.5), (FeedbackKind.RATING, 4.5, None)),
        (metric(5, uuid7(1), 1), (FeedbackKind.RATING, 1.0, None)),
        (
            {"id": uuid7(5), "target_id": uuid7(1), "target_type": "inference", "value": "too long", "tags": {}},
            (FeedbackKind.COMMENT, None, "too long"),
        ),
        (
            {"id": uuid7(5), "inference_id": uuid7(1), "value": '[{"type":"text","text":"Hi, Ann."}]'},
            (FeedbackKind.DEMONSTRATION, None, "Hi, Ann."),
        ),
        (
            {"id": uuid7(5), "inference_id": uuid7(1), "value": {"raw": "{}", "parsed": {}}},
            (FeedbackKind.DEMONSTRATION, None, "{}"),
        ),
        ({"id": uuid7(5), "inference_id": uuid7(1), "value": "Hi."}, (FeedbackKind.DEMONSTRATION, None, "Hi.")),
    ],
)
def test_each_table_of_feedback_is_a_kind_of_it(imported, row, signal):
    (event,) = imported("tensorzero", row)
    assert (event.kind, event.value, event.text) == signal
    assert (event.feedback_id, event.interaction_id, event.occurred_at) == (uuid7(5), uuid7(1), NOON)


@pytest.mark.parametrize("first", [0, 1])
def test_feedback_on_an_inference_and_on_an_episode_finds_its_answer_before_and_after_it(imported, first):
    answers = [chat(1, CALL), chat(2, {"type": "text", "text": "Monday."}, timestamp="2026-03-01 12:00:05")]
    metrics = [metric(5, uuid7(2), 3.0), metric(6, EPISODE, True), metric(7, uuid7(1), False), metric(8, uuid7(9), 1.0)]
    lines = [*metrics, *answers] if first else [*answers, *metrics]
    assert reached(imported("tensorzero", *lines)) == {
        uuid7(5): "Monday.",
        uuid7(6): "Monday.",
        uuid7(7): "",
        uuid7(8): None,
    }


@pytest.mark.parametrize("turned", [False, True])
def test_a_metric_of_an_episode_with_several_answers_is_about_the_last_one_before_it(imported, turned):
    answers = [
        chat(n, {"type": "text", "text": text}, timestamp=f"2026-03-01 12:00:0{n}")
        for n, text in ((2, "First."), (3, "Second."), (7, "Third."))
    ]
    given = metric(5, EPISODE, True, timestamp="2026-03-01 12:00:05")
    events = imported("tensorzero", *(reversed(answers) if turned else answers), given)
    assert reached(events) == {uuid7(5): "Second."}


def test_a_template_is_refused_and_its_model_inference_stands_in_for_it(imported):
    template = said({"type": "template", "name": "user", "arguments": {"topic": "parcels"}})
    rendered = {
        "id": uuid7(20),
        "inference_id": uuid7(1),
        "raw_request": "{}",
        "raw_response": "{}",
        "model_name": "qwen",
        "system": "Be brief.",
        "input_messages": '[{"role":"user","content":[{"type":"text","text":"Write about parcels."}]}]',
        "output": '[{"type":"text","text":"They arrive."}]',
        "timestamp": "2026-03-01 12:00:00",
    }
    letter, event, thumb = imported("tensorzero", chat(1, input=template), rendered, metric(5, uuid7(1), True))
    assert "ModelInference" not in letter.reason
    assert "template" in letter.reason
    assert event.messages == (Message("system", "Be brief."), Message("user", "Write about parcels."))
    assert reached([event, thumb]) == {uuid7(5): "They arrive."}
    plain = imported("tensorzero", chat(1), rendered, metric(5, uuid7(1), True))
    assert reached(plain) == {uuid7(5): "Hello."}


def test_what_is_no_production_and_what_was_not_answered_is_nothing(imported):
    rows = [
        chat(1, tags={"tensorzero::evaluation_run_id": uuid7(50)}),
        chat(2, output="[]"),
        chat(3, output=None),
        chat(4, output='{"raw":null,"parsed":null}'),
        metric(5, uuid7(1), True, metric_name="tensorzero::evaluation_name::e::evaluator_name::exact_match"),
    ]
    assert imported("tensorzero", *rows) == []


def test_rows_read_twice_and_from_another_file_are_the_same_events(imported):
    rows = [chat(1), metric(5, EPISODE, True)]
    once, again = imported("tensorzero", *rows), imported("tensorzero", *rows, *rows, name="again.jsonl")
    assert again == [*once, *once]
    keys = [(e.source, e.interaction_id if isinstance(e, Interaction) else e.feedback_id) for e in once]
    assert len(set(keys)) == len(keys) == 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": uuid7(1)}, "no row of an inference or a feedback"),
        ([1], "no row of an inference or a feedback"),
        (chat(1, input="no JSON"), "input"),
        (chat(1, input={"system": {"tone": "kind"}, "messages": []}), "template"),
        (chat(1, input={"messages": []}), "no input"),
        (chat(1, input=said({"type": "text", "value": {"topic": "x"}})), "template"),
        (chat(1, input=said({"type": "file", "mime_type": "image/png", "storage_path": {}})), "'file' cannot be read"),
        (chat(1, input={"messages": [{"role": "judge", "content": "Hi"}]}), "no role 'judge'"),
        (chat(1, {"type": "unknown", "data": {}}), "'unknown' cannot be read"),
        (chat(1, episode_id=None), "episode_id"),
        (chat(1, timestamp="yesterday"), "timestamp"),
        (metric(5, uuid7(1), "yes"), "value"),
        ({"id": uuid7(5), "inference_id": uuid7(1), "value": [CALL]}, "calls tools"),
        ({"id": uuid7(5), "inference_id": uuid7(1), "value": 5}, "value"),
        (chat(1) | {"id": "ffffffff-ffff-7fff-bfff-ffffffffffff", "timestamp": None}, "outside the years"),
        (chat(1, output=[{"type": "text", "text": "\x00"}]), "NUL"),
        (chat(1, output='[{"type":"text","text":"\\u0000"}]'), "NUL"),
    ],
)
def test_a_row_of_another_shape_is_one_dead_letter_with_the_reason(imported, row, reason):
    (letter,) = imported("tensorzero", row)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason


def test_feedback_keeps_the_name_of_its_metric(imported):
    (event,) = imported("tensorzero", metric(5, uuid7(1), True))
    assert isinstance(event, Feedback)
    assert event.metadata == {"metric_name": "solved"}
