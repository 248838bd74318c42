from datetime import UTC, datetime

import pytest

from loop.intake.events import encode, pseudonym
from loop.types import DeadLetter, FeedbackKind, Message
from tests.builders import KEY

ASK = {"role": "user", "content": "2+2?"}
SAY = {"role": "assistant", "content": "4"}


def test_the_last_assistant_message_is_the_answer_when_there_is_no_other(imported):
    (event,) = imported("openai-chat", {"messages": [ASK, SAY, {"role": "user", "content": "thanks"}]})
    assert (event.messages, event.response) == ((Message("user", "2+2?"),), Message("assistant", "4"))
    assert event.model == "unknown@openai-chat"


@pytest.mark.parametrize(
    "answer",
    [
        {"response": "5"},
        {"response": {"role": "assistant", "content": "5"}},
        {"response": {"choices": [{"message": {"role": "assistant", "content": "5"}}]}},
        {"choices": [{"message": {"role": "assistant", "content": "5"}}, {"message": SAY}]},
    ],
)
def test_a_separate_answer_may_be_text_or_message_or_completion(imported, answer):
    (event,) = imported("openai-chat", {"messages": [ASK, SAY, ASK], **answer})
    assert (len(event.messages), event.response.content) == (3, "5")


def test_a_chat_keeps_its_id_time_model_and_conversation_and_hides_its_user(imported):
    line = {
        "messages": [ASK],
        "response": {"id": "chatcmpl-1", "created": 1772366400, "model": "gpt-4o", "choices": [{"message": SAY}]},
        "user": "ann@example.org",
        "conversation_id": "c1",
        "metadata": {"page": 3},
    }
    (event,) = imported("openai-chat", line)
    assert (event.interaction_id, event.conversation_id, event.model) == ("chatcmpl-1", "c1", "gpt-4o@openai-chat")
    assert event.occurred_at == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert (event.user_key, event.metadata) == (pseudonym(KEY, "ann@example.org"), {"page": 3})
    assert b"ann@" not in encode(event).payload


@pytest.mark.parametrize(
    ("said", "signals"),
    [
        ({"thumb": "up"}, [(FeedbackKind.THUMB, 1.0, None)]),
        ({"thumb": False}, [(FeedbackKind.THUMB, -1.0, None)]),
        ({"thumb": 0}, [(FeedbackKind.THUMB, -1.0, None)]),
        ({"thumb": 1}, [(FeedbackKind.THUMB, 1.0, None)]),
        ({"rating": 4, "comment": "ok"}, [(FeedbackKind.RATING, 4.0, None), (FeedbackKind.COMMENT, None, "ok")]),
        ({"score": 0.25}, [(FeedbackKind.OUTCOME, 0.25, None)]),
        ({"edit": "four"}, [(FeedbackKind.EDIT, None, "four")]),
        ({"demonstration": "4."}, [(FeedbackKind.DEMONSTRATION, None, "4.")]),
        ({"regenerate": True}, [(FeedbackKind.REGENERATE, None, None)]),
        ({"regenerate": False}, []),
        ([{"thumb": "up"}, {"thumb": "down"}], [(FeedbackKind.THUMB, 1.0, None), (FeedbackKind.THUMB, -1.0, None)]),
    ],
)
def test_each_signal_of_a_chat_is_one_feedback_on_it(imported, said, signals):
    chat, *feedback = imported("openai-chat", {"messages": [ASK, SAY], "user": 7, "feedback": said})
    assert [(one.kind, one.value, one.text) for one in feedback] == signals
    assert {one.interaction_id for one in feedback} <= {chat.interaction_id}
    assert {one.user_key for one in feedback} <= {chat.user_key}
    assert len({one.feedback_id for one in feedback}) == len(feedback)


@pytest.mark.parametrize("created", [0, "0", None])
def test_a_time_that_the_export_did_not_know_is_the_time_of_the_line(imported, created):
    chat, thumb = imported(
        "openai-chat", {"messages": [ASK, SAY], "created": created, "feedback": {"thumb": "up", "created": created}}
    )
    assert chat.occurred_at.year == thumb.occurred_at.year == 2026


def test_a_line_at_the_end_of_time_is_a_dead_letter(imported):
    (letter,) = imported(
        "openai-chat", {"messages": [ASK, SAY], "created": "9999-12-31T23:59:59Z", "feedback": {"thumb": "up"}}
    )
    assert isinstance(letter, DeadLetter)


def test_users_without_a_name_are_not_one_user(imported):
    (chat,) = imported("openai-chat", {"messages": [ASK, SAY], "user": ""})
    assert chat.user_key is None


def test_what_came_with_a_signal_is_its_metadata(imported):
    said = {"thumb": "down", "why": "too long", "created": "2026-03-01T12:00:00+01:00"}
    _, thumb = imported("openai-chat", {"messages": [ASK, SAY], "feedback": said})
    assert (thumb.metadata, thumb.occurred_at) == ({"why": "too long"}, datetime(2026, 3, 1, 11, tzinfo=UTC))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"messages": [ASK]}, "no assistant message"),
        ({"messages": [SAY]}, "data.messages"),
        ({"messages": [ASK, SAY], "feedback": {"stars": 3}}, "none of thumb"),
        ({"messages": [ASK, SAY], "feedback": {"thumb": 0.5}}, "thumb needs"),
        ({"messages": [ASK, SAY], "created": 1e300}, "created"),
        ({"messages": [ASK, SAY], "created": "yesterday"}, "created"),
        ({"messages": [ASK, SAY], "response": 4}, "response"),
    ],
)
def test_a_chat_of_another_shape_is_a_dead_letter(imported, line, reason):
    (letter,) = imported("openai-chat", line)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason


@pytest.mark.parametrize("beside", [{}, {"role": "assistant"}, {"role": "assistant", "content": "5"}])
def test_a_response_with_choices_is_a_completion_whatever_stands_beside_them(imported, beside):
    (interaction,) = imported("openai-chat", {"messages": [ASK], "response": {**beside, "choices": [{"message": SAY}]}})
    assert interaction.response == Message("assistant", SAY["content"])


def test_a_reason_says_nothing_of_how_it_was_found(imported):
    (letter,) = imported("openai-chat", {"messages": [ASK], "response": 4})
    assert letter.reason.endswith("response: Expected `object`, got `int`")


HUMAN = "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: 2+2?\n\nAssistant:"
TALK = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, ASK]


@pytest.mark.parametrize(
    ("line", "turns"),
    [
        ({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, 1),
        ({"prompt": [ASK], "chosen": [SAY], "rejected": [{"role": "assistant", "content": "5"}]}, 1),
        ({"prompt": "2+2?", "chosen": [ASK, SAY], "rejected": [ASK, {"role": "assistant", "content": "5"}]}, 1),
        ({"chosen": [*TALK, SAY], "rejected": [*TALK, {"role": "assistant", "content": "5"}]}, 3),
        ({"chosen": HUMAN + " 4", "rejected": HUMAN + " 5"}, 3),
        ({"prompt": HUMAN, "chosen": "4", "rejected": "5"}, 3),
    ],
)
def test_a_pair_is_two_answers_to_one_prompt_and_a_comparison(imported, line, turns):
    better, worse, comparison = imported("pairs", line)
    assert better.messages == worse.messages
    assert len(better.messages) == turns
    assert better.messages[-1] == Message("user", "2+2?")
    assert (better.response.content, worse.response.content) == ("4", "5")
    assert (comparison.kind, comparison.value) == (FeedbackKind.COMPARISON, 1.0)
    assert comparison.interaction_id == better.interaction_id
    assert comparison.other_interaction_id == worse.interaction_id


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"chosen": "4", "rejected": "5"}, "neither a prompt nor a dialogue"),
        ({"prompt": "2+2?", "chosen": "4"}, "rejected"),
        ({"prompt": "2+2?", "chosen": "4", "rejected": []}, "rejected"),
        ({"prompt": "", "chosen": [SAY], "rejected": [ASK, SAY]}, "do not differ in one last"),
        ({"chosen": [ASK], "rejected": [ASK]}, "do not differ in one last"),
        ({"chosen": HUMAN + " 4", "rejected": "\n\nHuman: Bye\n\nAssistant: 5"}, "do not differ in one last"),
    ],
)
def test_a_pair_without_a_common_prompt_is_a_dead_letter(imported, line, reason):
    (letter,) = imported("pairs", line)
    assert isinstance(letter, DeadLetter)
    assert reason in letter.reason
