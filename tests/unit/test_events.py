import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loop.errors import EventError
from loop.intake.events import decode, encode, json_schema
from loop.intake.wire import MAX_EVENT_BYTES, MAX_LEVELS, WireFeedback, WireInteraction, WireSampling
from loop.types import (
    DeadLetter,
    Feedback,
    FeedbackKind,
    Interaction,
    Message,
    Sampling,
    ToolCall,
    Verifier,
    VerifierKind,
)

SCHEMA = jsonschema.Draft202012Validator(json_schema())
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))])
times = st.datetimes(timezones=zones).filter(lambda at: 1 < at.year < 9999)
scalars = st.none() | st.booleans() | st.integers() | finite | texts
metadata = st.dictionaries(
    texts, st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=6)
)
calls = st.builds(ToolCall, call_id=texts, name=texts, arguments=texts)
answers = st.builds(
    Message, role=st.just("assistant"), content=texts, tool_calls=st.lists(calls, max_size=2).map(tuple)
)
turns = answers | st.builds(Message, role=st.sampled_from(["system", "user"]), content=texts)
results = st.builds(Message, role=st.just("tool"), content=texts, tool_call_id=names)
int64 = st.integers(-(2**63), 2**63 - 1)
interactions = st.builds(
    Interaction,
    interaction_id=names,
    source=names,
    occurred_at=times,
    conversation_id=names,
    messages=st.lists(turns | results, min_size=1, max_size=4).map(tuple),
    response=answers,
    model=names,
    parent_id=st.none() | names,
    aliases=st.lists(names, max_size=2).map(tuple),
    user_key=st.none() | names,
    tenant=names,
    sampling=st.none()
    | st.builds(Sampling, temperature=finite, top_p=finite, max_tokens=int64, seed=st.none() | int64),
    token_logprobs=st.none() | st.lists(finite, max_size=4).map(tuple),
    verifiers=st.lists(st.builds(Verifier, st.sampled_from(VerifierKind), texts), max_size=2).map(tuple),
    metadata=metadata,
)
feedback = st.builds(
    Feedback,
    feedback_id=names,
    source=names,
    occurred_at=times,
    interaction_id=names,
    kind=st.sampled_from(FeedbackKind),
    value=st.sampled_from([1.0, -1.0]),
    text=texts,
    other_interaction_id=names,
    whole_conversation=st.booleans(),
    revises=st.none() | names,
    retracted=st.booleans(),
    user_key=st.none() | names,
    tenant=names,
    metadata=metadata,
)
letters = st.builds(
    DeadLetter, letter_id=names, source=names, position=int64, reason=texts, payload=st.binary(max_size=200)
)


def interaction_json(**changes: object) -> dict[str, object]:
    data = {
        "conversation_id": "c1",
        "messages": [{"role": "user", "content": "hi"}],
        "response": {"role": "assistant", "content": "hello"},
        "model": "assistant@3",
    }
    event = {"id": "i1", "source": "app", "type": "nightshift.interaction", "time": "2026-03-01T12:00:00Z"}
    return {**event, "data": {**data, **changes}}


def feedback_json(**data: object) -> dict[str, object]:
    event = {"id": "f1", "source": "app", "type": "nightshift.feedback", "time": "2026-03-01T12:00:00Z"}
    return {**event, "data": {"interaction_id": "i1", **data}}


def as_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


@settings(deadline=None)
@given(interactions | feedback | letters)
def test_what_is_encoded_decodes_to_itself(event):
    assert decode(encode(event).payload) == event


@settings(deadline=None)
@given(interactions | feedback | letters)
def test_the_published_schema_accepts_what_is_encoded(event):
    SCHEMA.validate(json.loads(encode(event).payload))


def test_the_published_schema_is_a_valid_schema_and_refuses_wrong_events():
    SCHEMA.check_schema(SCHEMA.schema)
    assert SCHEMA.is_valid(feedback_json(kind="thumb", value=1))
    assert not SCHEMA.is_valid(feedback_json(kind="star", value=1))
    assert not SCHEMA.is_valid(interaction_json(model=None))


@settings(deadline=None)
@given(interactions)
def test_an_encoding_is_canonical(event):
    payload = encode(event).payload
    text = json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert payload == text.encode()


def test_events_are_keyed_so_that_a_conversation_and_the_feedback_on_an_answer_keep_their_order():
    interaction = decode(as_bytes(interaction_json()))
    thumb = decode(as_bytes(feedback_json(kind="thumb", value=1)))
    assert (encode(interaction).key, encode(thumb).key) == ("c1", "i1")


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), ("hi", "hi"), ([], ""), ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab")],
)
def test_content_may_be_missing_text_or_text_parts(content, text):
    event = decode(as_bytes(interaction_json(messages=[{"role": "user", "content": content}])))
    assert event.messages[0].content == text


def test_tool_calls_are_read_as_openai_writes_them():
    call = {"id": "c9", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}}
    response = {"role": "assistant", "content": None, "tool_calls": [call]}
    event = decode(as_bytes(interaction_json(response=response)))
    assert event.response.tool_calls == (ToolCall(call_id="c9", name="find", arguments='{"a": 1}'),)


def test_a_developer_message_is_a_system_message():
    event = decode(as_bytes(interaction_json(messages=[{"role": "developer", "content": "be brief"}])))
    assert event.messages == (Message("system", "be brief"),)


def test_unknown_fields_are_ignored_and_null_means_missing():
    optional = ("parent_id", "aliases", "user_key", "tenant", "sampling", "token_logprobs", "verifiers", "metadata")
    nulls = interaction_json(**dict.fromkeys(optional), colour="red") | {"dataschema": "x", "subject": None}
    assert decode(as_bytes(nulls)) == decode(as_bytes(interaction_json()))


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ({}, None),
        ({"speed": 3}, None),
        ({"temperature": 0}, Sampling(temperature=0.0)),
        ({"top_p": 0.5}, Sampling(top_p=0.5)),
    ],
)
def test_sampling_of_which_nothing_is_said_is_not_known(said, read):
    assert decode(as_bytes(interaction_json(sampling=said))).sampling == read


def test_a_reason_names_the_place_whatever_the_text_says():
    with pytest.raises(EventError) as refused:
        decode(as_bytes(interaction_json() | {"type": "x - at `$.y`"}))
    assert refused.value.what.startswith("type: Invalid value 'x - at")


def test_times_become_utc():
    event = decode(as_bytes(interaction_json() | {"time": "2026-03-01T14:00:00+02:00"}))
    assert event.occurred_at == NOON
    assert event.occurred_at.tzinfo is UTC


def test_a_key_given_twice_counts_once():
    payload = as_bytes(interaction_json()).replace(b'"id": "i1"', b'"id": "i0", "id": "i1"')
    assert decode(payload).interaction_id == "i1"


def test_a_newer_schema_version_of_readable_shape_is_read():
    assert decode(as_bytes(interaction_json() | {"schema_version": 7})).interaction_id == "i1"


def test_a_newer_schema_version_that_cannot_be_read_says_so():
    with pytest.raises(EventError, match="schema_version 7 is newer than 1"):
        decode(as_bytes(interaction_json(messages={"thread": "t1"}) | {"schema_version": 7}))


def test_text_about_a_nul_escape_is_not_a_nul():
    event = decode(as_bytes(interaction_json(response={"role": "assistant", "content": "write \\u0000 in C"})))
    assert event.response.content == "write \\u0000 in C"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (interaction_json() | {"time": "2026-03-01T12:00:00"}, "timezone"),
        (interaction_json() | {"time": "2026-03-01"}, "time: "),
        (interaction_json() | {"time": "1772366400"}, "RFC3339"),
        (interaction_json() | {"time": 1772366400}, "time: Expected `datetime`"),
        (interaction_json() | {"time": "0001-01-01T00:00:00+14:00"}, "years 1 to 9999"),
        (interaction_json() | {"type": "nightshift.star"}, "nightshift.star"),
        (interaction_json() | {"id": ""}, "id: "),
        (interaction_json() | {"id": "i" * 257}, "id: "),
        (interaction_json(messages=[]), "data.messages"),
        (interaction_json(response={"role": "user", "content": "x"}), "data.response.role"),
        (interaction_json(messages=[{"role": "robot", "content": "x"}]), "data.messages[0].role"),
        (
            interaction_json(messages=[{"role": "user", "content": [{"type": "image_url"}]}]),
            "data.messages[0].content[0].type",
        ),
        (interaction_json(response={"role": "assistant", "content": "a\0b"}), "NUL"),
        (interaction_json(response={"role": "assistant", "content": "\ud800"}), "JSON"),
        (interaction_json(token_logprobs=["-0.5"]), "data.token_logprobs[0]"),
        (interaction_json(token_logprobs=[float("nan")]), "JSON"),
        (interaction_json(token_logprobs=[float("-inf")]), "JSON"),
        (interaction_json(metadata={"deep": [{"er": float("inf")}]}), "JSON"),
        (interaction_json(sampling={"seed": 2**63}), "data.sampling.seed"),
        (feedback_json(kind="star", value=1), "data.kind"),
        (feedback_json(kind="thumb"), "thumb needs a value of"),
        (feedback_json(kind="thumb", value=0.5), "thumb needs a value of"),
        (feedback_json(kind="thumb", value=True), "data.value"),
        (feedback_json(kind="thumb", value="1"), "data.value"),
        (feedback_json(kind="rating"), "rating needs a value"),
        (feedback_json(kind="rating", value=10**400), "data.value"),
        (feedback_json(kind="outcome", value=float("nan")), "JSON"),
        (feedback_json(kind="edit"), "edit needs a text"),
        (feedback_json(kind="demonstration", value=1), "demonstration needs a text"),
        (feedback_json(kind="comparison", value=1), "comparison needs an other_interaction_id"),
        (feedback_json(kind="comparison", value=2, other_interaction_id="i2"), "comparison needs a value of"),
        ([], "object"),
        (None, "object"),
    ],
)
def test_an_event_of_another_shape_is_refused_with_the_reason(document, reason):
    with pytest.raises(EventError) as refused:
        decode(as_bytes(document))
    assert reason in refused.value.what


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"\xff\xfe", b'"\x01"', b"[" * 100_000, b'{"a":' * 5_000, b"1" * 10_000, b"{} {}", b"\xef\xbb\xbf{}"],
    ids=lambda payload: repr(payload[:8]),
)
def test_what_is_not_json_is_refused(payload):
    with pytest.raises(EventError, match="JSON"):
        decode(payload)


@pytest.mark.parametrize("more", [0, 1])
def test_metadata_may_be_nested_so_deep_and_no_deeper(more):
    nested: dict[str, object] = {}
    for _ in range(MAX_LEVELS - 1 + more):
        nested = {"inner": nested}
    payload = as_bytes(interaction_json(metadata=nested))
    if not more:
        assert decode(payload).metadata == nested
        return
    with pytest.raises(EventError, match="data: metadata is nested deeper than"):
        decode(payload)


def test_an_event_that_is_too_large_is_refused_before_it_is_parsed():
    fits = as_bytes(interaction_json())
    assert decode(fits.ljust(MAX_EVENT_BYTES)).interaction_id == "i1"
    with pytest.raises(EventError, match="larger than"):
        decode(fits.ljust(MAX_EVENT_BYTES + 1))


@pytest.mark.parametrize("kind", FeedbackKind)
def test_a_retraction_needs_neither_value_nor_text(kind):
    assert decode(as_bytes(feedback_json(kind=kind, retracted=True))).retracted


def test_every_field_of_the_types_travels_on_the_wire():
    of_interaction = {field.name for field in fields(Interaction)} - {"interaction_id", "source", "occurred_at"}
    of_feedback = {field.name for field in fields(Feedback)} - {"feedback_id", "source", "occurred_at"}
    assert of_interaction == set(WireInteraction.__struct_fields__)
    assert of_feedback == set(WireFeedback.__struct_fields__)
    assert {field.name for field in fields(Sampling)} == set(WireSampling.__struct_fields__)
