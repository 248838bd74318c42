import json
from datetime import UTC, datetime

import pytest

from loop.intake.events import encode, pseudonym
from loop.types import DeadLetter, Feedback, FeedbackKind, Interaction, Message, Sampling, ToolCall
from tests.builders import KEY
from tests.reaching import reached

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ASK = {"role": "user", "content": "Where is order 7?"}
CALL = {"id": "c1", "type": "function", "function": {"name": "find_order", "arguments": '{"number": 7}'}}


def exported(number: int, output: object = "On Monday.", **changed: object) -> dict[str, object]:
    """A row of `observations_v2/` as the blob storage export writes it: structures are text, unset texts are empty."""
    return {
        "id": f"o{number}",
        "trace_id": "t1",
        "project_id": "p1",
        "environment": "production",
        "type": "GENERATION",
        "parent_observation_id": "o0",
        "start_time": f"2026-03-01 12:00:0{number}.250000",
        "end_time": None,
        "name": "answer",
        "metadata": {},
        "input": json.dumps([{"role": "system", "content": "Be brief."}, ASK]),
        "output": output if isinstance(output, str) else json.dumps(output),
        "provided_model_name": "gpt-4o-mini",
        "model_parameters": '{"temperature":0.2,"top_p":"0.9","max_tokens":"inf"}',
        "usage_details": {"input": 12, "output": 4},
        "tool_calls": [],
        "user_id": "ann@example.org",
        "session_id": "s1",
        "tags": [],
        **changed,
    }


def from_api(**changed: object) -> dict[str, object]:
    """An observation as the public API gives it."""
    return {
        "id": "o1",
        "traceId": "t1",
        "type": "GENERATION",
        "startTime": "2026-03-01T12:00:01.250Z",
        "model": "gpt-4o-mini",
        "modelParameters": {"temperature": 0.2, "max_completion_tokens": 50},
        "input": [{"role": "system", "content": "Be brief."}, ASK],
        "output": {"role": "assistant", "content": "On Monday."},
        "usage": {"input": 12, "output": 4, "total": 16, "unit": "TOKENS"},
        "level": "DEFAULT",
        **changed,
    }


def score(name: str = "s1", **changed: object) -> dict[str, object]:
    return {
        "id": name,
        "timestamp": "2026-03-01 12:00:00.000000",
        "project_id": "p1",
        "trace_id": "t1",
        "observation_id": None,
        "session_id": None,
        "dataset_run_id": None,
        "name": "helpful",
        "value": 1,
        "source": "API",
        "comment": None,
        "data_type": "NUMERIC",
        "string_value": None,
        **changed,
    }


def test_a_generation_of_a_blob_storage_export_is_an_interaction_and_hides_its_user(imported):
    (event,) = imported("langfuse", exported(0))
    assert (event.interaction_id, event.conversation_id, event.model) == ("o0", "s1", "gpt-4o-mini@langfuse")
    assert event.aliases == ("t1",)
    assert event.messages == (Message("system", "Be brief."), Message("user", "Where is order 7?"))
    assert event.response == Message("assistant", "On Monday.")
    assert event.occurred_at == NOON.replace(microsecond=250_000)
    assert event.sampling == Sampling(temperature=0.2, top_p=0.9)
    assert event.user_key == pseudonym(KEY, "ann@example.org")
    assert b"ann@" not in encode(event).payload


def test_a_generation_of_the_public_api_is_the_same_without_a_user(imported):
    (event,) = imported("langfuse", from_api())
    (expected,) = imported("langfuse", exported(1))
    assert (event.interaction_id, event.occurred_at) == (expected.interaction_id, expected.occurred_at)
    assert (event.messages, event.response, event.model) == (expected.messages, expected.response, expected.model)
    assert (event.conversation_id, event.user_key) == ("t1", None)
    assert event.sampling == Sampling(temperature=0.2, max_tokens=50)


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        ("Where is order 7?", (Message("user", "Where is order 7?"),)),
        ({"messages": [ASK], "tools": [{"type": "function"}]}, (Message("user", "Where is order 7?"),)),
        ([{"role": "user", "content": [{"type": "text", "text": "Hi"}]}], (Message("user", "Hi"),)),
        ('["no", "messages"]', (Message("user", '["no", "messages"]'),)),
        ("{{name}}, hello", (Message("user", "{{name}}, hello"),)),
    ],
)
def test_an_input_is_messages_or_an_object_that_has_them_or_a_text(imported, given, prompt):
    (event,) = imported("langfuse", from_api(input=given))
    assert event.messages == prompt


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("On Monday.", "On Monday."),
        ({"role": None, "content": "On Monday."}, "On Monday."),
        ([ASK, {"role": "assistant", "content": "On Monday."}], "On Monday."),
        ({"day": "Monday"}, '{"day": "Monday"}'),
        ('{"day":"Monday"}', '{"day":"Monday"}'),
        (["Monday", "Tuesday"], '["Monday", "Tuesday"]'),
        (42, "42"),
    ],
)
def test_an_output_is_a_message_or_the_last_of_several_or_whatever_the_model_wrote(imported, given, text):
    (event,) = imported("langfuse", from_api(output=given))
    assert event.response == Message("assistant", text)


@pytest.mark.parametrize("call", [CALL, {"type": "tool_call", "id": "c1", "name": "find_order", "args": {"number": 7}}])
def test_tool_calls_of_openai_and_langchain_and_their_results_are_messages(imported, call):
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    turns = [ASK, asked, {"role": "tool", "tool_call_id": "c1", "content": "Monday"}]
    (answer,) = imported("langfuse", from_api(input=turns))
    (calling,) = imported("langfuse", from_api(output=asked))
    made = (ToolCall(call_id="c1", name="find_order", arguments='{"number": 7}'),)
    assert answer.messages[1:] == (Message("assistant", "", made), Message("tool", "Monday", (), "c1"))
    assert (calling.response, calling.aliases) == (Message("assistant", "", made), ())


@pytest.mark.parametrize(
    ("changed", "signal"),
    [
        ({"value": 4}, (FeedbackKind.RATING, 4.0, None)),
        ({"value": 0, "source": "ANNOTATION"}, (FeedbackKind.RATING, 0.0, None)),
        ({"value": 1, "data_type": "BOOLEAN", "string_value": "True"}, (FeedbackKind.THUMB, 1.0, None)),
        ({"value": 0, "data_type": "BOOLEAN", "string_value": "False"}, (FeedbackKind.THUMB, -1.0, None)),
        ({"value": False, "data_type": "BOOLEAN"}, (FeedbackKind.THUMB, -1.0, None)),
        ({"value": 3, "data_type": "CATEGORICAL", "string_value": "Good"}, (FeedbackKind.THUMB, 1.0, None)),
        (
            {"value": 0, "data_type": "CATEGORICAL", "string_value": "off topic"},
            (FeedbackKind.COMMENT, None, "helpful: off topic"),
        ),
        ({"value": 0, "data_type": "TEXT", "string_value": "So slow"}, (FeedbackKind.COMMENT, None, "So slow")),
        ({"value": 0, "data_type": "CORRECTION", "string_value": "On May 4"}, (FeedbackKind.EDIT, None, "On May 4")),
        ({"value": "On May 4", "data_type": "CORRECTION"}, (FeedbackKind.EDIT, None, "On May 4")),
        ({"value": 0.75, "source": "EVAL"}, (FeedbackKind.IMPLICIT, 0.5, None)),
        ({"value": 0, "data_type": "BOOLEAN", "source": "EVAL"}, (FeedbackKind.IMPLICIT, -1.0, None)),
        (
            {"value": 2, "data_type": "CATEGORICAL", "string_value": "Not relevant", "source": "EVAL"},
            (FeedbackKind.IMPLICIT, -1.0, None),
        ),
        (
            {"value": 4, "source": "EVAL", "comment": "kind enough"},
            (FeedbackKind.COMMENT, None, "helpful: 4, kind enough"),
        ),
    ],
)
def test_who_speaks_and_the_type_of_a_score_decide_the_kind_of_feedback(imported, changed, signal):
    (event,) = imported("langfuse", score(**changed))
    assert (event.kind, event.value, event.text) == signal
    assert (event.feedback_id, event.interaction_id, event.occurred_at, event.user_key) == ("s1", "t1", NOON, None)


def test_a_score_of_the_api_keeps_its_name_its_source_and_its_comment(imported):
    row = {
        "id": "s1",
        "name": "helpful",
        "dataType": "BOOLEAN",
        "value": True,
        "source": "ANNOTATION",
        "comment": "short and right",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "subject": {"kind": "observation", "id": "o1", "traceId": "t1"},
    }
    (event,) = imported("langfuse", row)
    assert (event.interaction_id, event.kind, event.value) == ("o1", FeedbackKind.THUMB, 1.0)
    assert event.metadata == {"name": "helpful", "source": "ANNOTATION", "comment": "short and right"}


@pytest.mark.parametrize("first", [0, 1])
def test_scores_on_a_trace_and_on_a_generation_find_its_answer_before_and_after_it(imported, first):
    rows = [
        exported(1, {"role": "assistant", "tool_calls": [CALL]}),
        exported(2, "On Monday."),
        exported(3, "A title", trace_id="t2"),
        exported(4, type="SPAN"),
    ]
    scores = [
        score("on the trace"),
        score("on a step", observation_id="o1"),
        score("on the answer", observation_id="o2"),
        score("on the other trace", trace_id="t2"),
        score("on a span", observation_id="o4"),
        score("on a session", trace_id=None, session_id="s1"),
        score("on no known trace", trace_id="t9"),
    ]
    assert reached(imported("langfuse", *(scores + rows if first else rows + scores))) == {
        "on the trace": "On Monday.",
        "on a step": "",
        "on the answer": "On Monday.",
        "on the other trace": "A title",
        "on a span": None,
        "on a session": None,
        "on no known trace": None,
    }


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("second", "text"), [(0, "First."), (2, "Second."), (9, "Third.")])
def test_a_score_on_a_trace_with_several_answers_is_about_the_last_one_before_it(imported, turned, second, text):
    rows = [exported(1, "First."), exported(2, "Second."), exported(3, "Third.")]
    given = score(timestamp=f"2026-03-01 12:00:0{second}.500000")
    events = imported("langfuse", *(reversed(rows) if turned else rows), given)
    assert reached(events) == {"s1": text}


def test_a_whole_trace_gives_its_user_and_session_to_its_generations(imported):
    trace = {
        "id": "t1",
        "timestamp": "2026-03-01T12:00:00.000Z",
        "userId": "ann@example.org",
        "sessionId": "s1",
        "input": "Where is order 7?",
        "output": "On Monday.",
        "observations": [from_api(id="o0", type="SPAN", input=None, output=None), from_api()],
        "scores": [{**score(), "traceId": "t1", "dataType": "NUMERIC"}],
    }
    event, rating = imported("langfuse", trace)
    assert (event.user_key, event.conversation_id) == (pseudonym(KEY, "ann@example.org"), "s1")
    assert reached([event, rating]) == {"s1": "On Monday."}
    listed = trace | {"observations": ["o0", "o1"], "scores": ["s1"]}
    assert imported("langfuse", listed) == []


def test_an_export_as_one_array_is_read_too(imported):
    rows = [exported(1), score()]
    array = json.dumps(rows, indent=1)
    assert imported("langfuse", array, name="export.json") == imported("langfuse", *rows)


def test_what_is_no_answer_and_a_score_of_an_experiment_are_nothing(imported):
    rows = [
        exported(1, type="TOOL"),
        exported(2, ""),
        from_api(output=None),
        {"id": "t1", "timestamp": "2026-03-01 12:00:00.000000", "name": "chat", "input": "Hi", "output": "Hello"},
        score(trace_id=None, dataset_run_id="r1"),
        score(trace_id=None, subject={"kind": "experiment", "id": "r1"}),
    ]
    assert imported("langfuse", *rows) == []


def test_rows_read_twice_and_from_another_file_are_the_same_events(imported):
    rows = [exported(1), exported(2), score()]
    once, again = imported("langfuse", *rows), imported("langfuse", *rows, *rows, name="again.jsonl")
    assert again == [*once, *once]
    keys = [(e.source, e.interaction_id if isinstance(e, Interaction) else e.feedback_id) for e in once]
    assert len(set(keys)) == len(keys) == 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "o1"}, "neither an observation nor a score nor a trace"),
        (7, "neither an observation nor a score nor a trace"),
        (exported(1, start_time="noon"), "start_time"),
        (exported(1, input=""), "neither text nor messages"),
        (from_api(input={"question": "Where?"}), "neither text nor messages"),
        (from_api(input=[]), "neither text nor messages"),
        (from_api(input=[{"role": "robot", "content": "Hi"}]), "no role 'robot'"),
        (
            from_api(input=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]),
            "content",
        ),
        (from_api(output=ASK), "not one message of the assistant"),
        (exported(1, '{"role": "assistant", "content": "\\u0000"}'), "NUL"),
        (exported(1, id=""), "id"),
        (score(data_type="HUGE"), "data_type"),
        (score(value=None), "no number"),
        (score(value=None, data_type="CORRECTION"), "needs a text"),
        (score(value=1e999), "value"),
        ({"id": "t1", "timestamp": "2026-03-01T12:00:00Z", "scores": [{"id": "s1"}]}, "scores"),
    ],
)
def test_a_row_of_another_shape_is_one_dead_letter_with_the_reason(imported, row, reason):
    (letter,) = imported("langfuse", row)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason


def test_strange_parameters_do_not_cost_an_answer(imported):
    rows = [
        exported(n, model_parameters=text)
        for n, text in enumerate(("", "no JSON", "[1]", '{"temperature": true}', '{"temperature": 1e400}'))
    ]
    events = [event for event in imported("langfuse", *rows) if not isinstance(event, Feedback)]
    assert [event.sampling for event in events] == [None] * 5
