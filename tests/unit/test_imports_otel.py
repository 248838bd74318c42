import json
from datetime import UTC, datetime

import pytest

from loop.intake.events import encode, pseudonym
from loop.intake.wire import MAX_EVENT_BYTES
from loop.types import DeadLetter, Feedback, FeedbackKind, Interaction, Message, Sampling, ToolCall
from tests.builders import KEY
from tests.reaching import reached

TRACE, SPAN = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NANOSECONDS = "1772366400000000000"
DETAILS, EVALUATION = "gen_ai.client.inference.operation.details", "gen_ai.evaluation.result"
ASKED = [{"role": "user", "parts": [{"type": "text", "content": "Where is order 7?"}]}]
SAID = [{"role": "assistant", "parts": [{"type": "text", "content": "On Monday."}], "finish_reason": "stop"}]
CALL = {"type": "tool_call", "id": "c1", "name": "find_order", "arguments": {"number": 7}}
CHAT = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.2,
    "gen_ai.request.max_tokens": 100,
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
    "gen_ai.input.messages": ASKED,
    "gen_ai.output.messages": SAID,
}
RELEVANT = {
    "gen_ai.evaluation.name": "Relevance",
    "gen_ai.evaluation.score.value": 0.75,
    "gen_ai.evaluation.explanation": "It names the day.",
}
WITHOUT_ID = {name: value for name, value in CHAT.items() if name != "gen_ai.response.id"}


def any_value(value: object) -> dict[str, object]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [any_value(each) for each in value]}}
        case dict():
            return {"kvlistValue": {"values": pairs(value)}}
    return {} if value is None else {"stringValue": value}


def pairs(attributes: dict[str, object]) -> list[dict[str, object]]:
    return [{"key": name, "value": any_value(value)} for name, value in attributes.items()]


def as_texts(attributes: dict[str, object]) -> dict[str, object]:
    """As spans have them whose SDK knows no structured attributes."""
    lists = {"gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"}
    return {name: json.dumps(value) if name in lists else value for name, value in attributes.items()}


def span(attributes: dict[str, object], *events: dict[str, object], **changed: object) -> dict[str, object]:
    return {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": "ea00000000000000",
        "name": "chat gpt-4o-mini",
        "kind": 3,
        "startTimeUnixNano": "1772366398000000000",
        "endTimeUnixNano": NANOSECONDS,
        "attributes": pairs(attributes),
        "events": list(events),
        "status": {},
        **changed,
    }


def event(name: str, attributes: dict[str, object]) -> dict[str, object]:
    return {"timeUnixNano": NANOSECONDS, "name": name, "attributes": pairs(attributes)}


def record(name: str, attributes: dict[str, object], **changed: object) -> dict[str, object]:
    return {
        "timeUnixNano": NANOSECONDS,
        "observedTimeUnixNano": NANOSECONDS,
        "severityNumber": 9,
        "body": {},
        "eventName": name,
        "traceId": TRACE,
        "spanId": SPAN,
        "attributes": pairs(attributes),
        **changed,
    }


def traces(*spans: dict[str, object]) -> dict[str, object]:
    resource = {"attributes": pairs({"service.name": "help-desk", "process.pid": 7})}
    scope = {"name": "opentelemetry.instrumentation", "attributes": pairs({"a": [1, True, None]})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": list(spans)}]}]}


def logs(*records: dict[str, object]) -> dict[str, object]:
    return {"resourceLogs": [{"resource": {}, "scopeLogs": [{"scope": {}, "logRecords": list(records)}]}]}


def keys(events) -> list[tuple[str, str]]:
    return [(e.source, e.interaction_id if isinstance(e, Interaction) else e.feedback_id) for e in events]


@pytest.mark.parametrize(
    "line",
    [
        traces(span(CHAT)),
        traces(span(as_texts(CHAT))),
        logs(record(DETAILS, CHAT)),
        logs(record("", CHAT | {"event.name": DETAILS})),
        traces(span({"gen_ai.operation.name": "chat"}, event(DETAILS, CHAT))),
    ],
    ids=["span", "span with texts", "log record", "older log record", "event on a span"],
)
def test_an_inference_is_the_same_interaction_wherever_it_stands(imported, line):
    (answer,) = imported("otel", line)
    assert (answer.source, answer.interaction_id) == ("import/otel", "chatcmpl-1")
    assert answer.aliases == (f"{TRACE}/{SPAN}",)
    assert answer.messages == (Message("system", "Be brief."), Message("user", "Where is order 7?"))
    assert answer.response == Message("assistant", "On Monday.")
    assert (answer.model, answer.conversation_id) == ("gpt-4o-mini-2024-07-18@otel", TRACE)
    assert answer.sampling == Sampling(temperature=0.2, max_tokens=100)
    assert answer.occurred_at == NOON


@pytest.mark.parametrize("operation", ["text_completion", "generate_content"])
def test_every_operation_that_answers_is_an_inference(imported, operation):
    assert len(imported("otel", traces(span(CHAT | {"gen_ai.operation.name": operation})))) == 1


@pytest.mark.parametrize("name", ["user.id", "enduser.id"])
def test_the_conversation_is_kept_and_the_user_hidden(imported, name):
    known = CHAT | {"gen_ai.conversation.id": "conv_1", name: "ann@example.org"}
    (answer,) = imported("otel", traces(span(known)))
    assert (answer.conversation_id, answer.user_key) == ("conv_1", pseudonym(KEY, "ann@example.org"))
    assert b"ann@" not in encode(answer).payload


def test_without_a_response_id_the_span_is_the_name_and_without_a_span_the_line(imported):
    (by_span,) = imported("otel", traces(span(WITHOUT_ID)))
    (by_line,) = imported("otel", logs(record(DETAILS, WITHOUT_ID, traceId="", spanId="")))
    assert by_span.interaction_id == f"{TRACE}/{SPAN}"
    assert by_line.conversation_id == by_line.interaction_id
    assert len(by_line.interaction_id) == 32


def test_ids_in_capitals_are_the_same_ids(imported):
    loud = span(WITHOUT_ID, traceId=TRACE.upper(), spanId=SPAN.upper())
    assert imported("otel", traces(loud)) == imported("otel", traces(span(WITHOUT_ID)))


@pytest.mark.parametrize("write", [dict, as_texts])
def test_tool_calls_and_their_results_are_messages_and_reasoning_is_left_out(imported, write):
    thought = {"type": "reasoning", "content": "Look it up."}
    turns = [
        *ASKED,
        {"role": "assistant", "parts": [thought, CALL]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"day": "Monday"}}]},
        {"role": "user", "parts": [{"type": "tool_call_response", "result": "none"}, *ASKED[0]["parts"]]},
    ]
    calling = [{"role": "assistant", "parts": [thought, CALL | {"arguments": '{"number":7}'}]}]
    attributes = write(CHAT | {"gen_ai.input.messages": turns, "gen_ai.output.messages": calling})
    (answer,) = imported("otel", traces(span(attributes)))
    assert answer.messages[2:] == (
        Message("assistant", "", (ToolCall(call_id="c1", name="find_order", arguments='{"number": 7}'),)),
        Message("tool", '{"day": "Monday"}', (), "c1"),
        Message("tool", "none"),
        Message("user", "Where is order 7?"),
    )
    assert answer.response.tool_calls == (ToolCall(call_id="c1", name="find_order", arguments='{"number":7}'),)


def test_of_several_choices_the_first_is_the_answer(imported):
    other = [{"role": "assistant", "parts": [{"type": "text", "content": "On Tuesday."}]}]
    (answer,) = imported("otel", traces(span(CHAT | {"gen_ai.output.messages": SAID + other})))
    assert answer.response.content == "On Monday."


@pytest.mark.parametrize(
    ("told", "signal"),
    [
        ({"score.value": 0.75}, (FeedbackKind.IMPLICIT, 0.5, None)),
        ({"score.value": 0}, (FeedbackKind.IMPLICIT, -1.0, None)),
        ({"score.label": "pass"}, (FeedbackKind.IMPLICIT, 1.0, None)),
        ({"score.label": "fail", "score.value": 1.0}, (FeedbackKind.IMPLICIT, -1.0, None)),
        ({"score.label": "not_relevant"}, (FeedbackKind.IMPLICIT, -1.0, None)),
        ({"score.label": "lukewarm", "score.value": 0.5}, (FeedbackKind.IMPLICIT, 0.0, None)),
        ({"score.value": 4.0, "explanation": "good"}, (FeedbackKind.COMMENT, None, "Tone: 4, good")),
        ({"score.label": "lukewarm"}, (FeedbackKind.COMMENT, None, "Tone: lukewarm")),
    ],
)
def test_an_evaluation_is_the_opinion_of_an_automatic_evaluator(imported, told, signal):
    attributes = {"gen_ai.evaluation.name": "Tone"} | {f"gen_ai.evaluation.{name}": v for name, v in told.items()}
    (opinion,) = imported("otel", logs(record(EVALUATION, attributes)))
    assert (opinion.kind, opinion.value, opinion.text) == signal
    assert (opinion.interaction_id, opinion.user_key, opinion.occurred_at) == (f"{TRACE}/{SPAN}", None, NOON)


def test_an_evaluation_keeps_what_it_said(imported):
    (opinion,) = imported("otel", logs(record(EVALUATION, RELEVANT)))
    assert opinion.metadata == {"name": "Relevance", "score": 0.75, "explanation": "It names the day."}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("known", [CHAT, WITHOUT_ID], ids=["with response id", "without"])
def test_an_evaluation_finds_its_answer_by_response_or_span_before_and_after_it(imported, known, first):
    other = CHAT | {"gen_ai.response.id": "chatcmpl-2", "gen_ai.output.messages": ASKED_BACK}
    answers = [traces(span(known)), traces(span(other, spanId="b7ad6b7169203331"))]
    opinions = [
        logs(record(EVALUATION, RELEVANT)),
        logs(record(EVALUATION, RELEVANT | {"gen_ai.response.id": "chatcmpl-2"}, spanId="00f067aa0ba902b7")),
        logs(record(EVALUATION, RELEVANT, spanId="b7ad6b7169203331")),
    ]
    events = imported("otel", *(opinions + answers if first else answers + opinions))
    assert list(reached(events).values()) == ["On Monday.", "Which order?", "Which order?"]


ASKED_BACK = [{"role": "assistant", "parts": [{"type": "text", "content": "Which order?"}]}]


def test_an_evaluation_on_the_span_itself_is_about_the_response_of_the_span(imported):
    events = imported("otel", traces(span(CHAT, event(EVALUATION, RELEVANT), event("exception", {}))))
    assert [type(each) for each in events] == [Interaction, Feedback]
    assert events[-1].interaction_id == "chatcmpl-1"


def test_telemetry_of_other_things_and_without_captured_messages_is_nothing(imported):
    bare = {name: value for name, value in CHAT.items() if not name.endswith(("messages", "instructions"))}
    lines = [
        traces(span({"http.request.method": "GET", "url.full": "http://x"})),
        traces(span({"gen_ai.operation.name": ["chat"]}), span(CHAT | {"gen_ai.operation.name": "invoke_agent"})),
        traces(span(bare | {"error.type": "timeout"}), span(CHAT | {"gen_ai.output.messages": []})),
        logs(record("", {}, body={"stringValue": "started"}), record(EVALUATION, RELEVANT | {"error.type": "timeout"})),
        {"resourceMetrics": [{"scopeMetrics": []}]},
        {"resourceSpans": []},
    ]
    assert imported("otel", *lines) == []


def test_lines_read_twice_as_spans_and_as_log_records_have_the_same_ids(imported):
    as_spans = imported("otel", traces(span(CHAT)), logs(record(EVALUATION, RELEVANT)))
    as_logs = imported("otel", logs(record(DETAILS, CHAT), record(EVALUATION, RELEVANT)), name="again.jsonl")
    assert keys(as_spans) == keys(as_logs)
    assert len(set(keys(as_spans))) == 2


def test_a_batch_may_be_larger_than_an_event_and_what_is_bad_in_it_is_lost_alone(imported):
    long = [{"role": "user", "parts": [{"type": "text", "content": "x" * 40_000}]}]
    spans = [
        span(CHAT | {"gen_ai.response.id": f"r{n}", "gen_ai.input.messages": long}, spanId=f"{n:016x}")
        for n in range(1, 41)
    ]
    spans[7]["attributes"] = pairs(CHAT | {"gen_ai.output.messages": [{"role": "assistant"}]})
    line = json.dumps(traces(*spans))
    assert len(line) > MAX_EVENT_BYTES
    events = imported("otel", line, traces(span(CHAT)))
    letters = [each for each in events if isinstance(each, DeadLetter)]
    assert len(events) - len(letters) == 39 + 1
    assert [(letter.position, json.loads(letter.payload)) for letter in letters] == [
        (8, {"resourceSpans": [{"scopeSpans": [{"spans": [spans[7]]}]}]})
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"spans": []}, "neither resourceSpans nor resourceLogs"),
        ([], "object"),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [span(CHAT), span(CHAT)]}]}, 7]}, "resourceSpans.1"),
        (traces(span(CHAT, endTimeUnixNano="noon")), "endTimeUnixNano"),
        (traces(span(CHAT, endTimeUnixNano=2**64)), "endTimeUnixNano"),
        (traces(span(CHAT, traceId=7)), "traceId"),
        (traces(span(CHAT | {"gen_ai.input.messages": []})), "no input messages"),
        (traces(span(CHAT | {"gen_ai.input.messages": "Hi"})), "gen_ai.input.messages"),
        (traces(span(CHAT | {"gen_ai.input.messages": "[" * 9000})), "gen_ai.input.messages"),
        (traces(span(CHAT | {"gen_ai.output.messages": ASKED})), "not one message of the assistant"),
        (
            traces(span(CHAT | {"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "blob"}]}]})),
            "'blob' cannot be read",
        ),
        (
            traces(span(CHAT | {"gen_ai.input.messages": [{"role": "user", "parts": [{"type": "text"}]}]})),
            "'text' cannot be read",
        ),
        (traces(span(CHAT | {"gen_ai.input.messages": [{"role": "judge", "parts": []}]})), "no role 'judge'"),
        (traces(span(CHAT | {"gen_ai.system_instructions": '[{"type":"text","content":"\\u0000"}]'})), "NUL"),
        (logs(record(EVALUATION, RELEVANT, spanId="")), "neither a response nor a span"),
        (logs(record(EVALUATION, RELEVANT | {"gen_ai.evaluation.name": 7})), "gen_ai.evaluation.name"),
    ],
)
def test_a_line_of_another_shape_is_one_dead_letter_with_the_reason(imported, line, reason):
    (letter,) = imported("otel", line)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason
