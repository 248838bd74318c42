import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.curation.scrub import scrub
from loop.types import FeedbackKind, Interaction, Message, ToolCall, Verifier, VerifierKind
from tests.feedback import TRAIN_ALL, ask, made, tell


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("write to ann.b+c@mail.example.com.", "write to <EMAIL>."),
        ("call +49 171 2345678 now", "call <PHONE> now"),
        ("call +1 (555) 123-4567, please", "call <PHONE>, please"),
        ("(555) 123-4567", "<PHONE>"),
        ("555-123-4567", "<PHONE>"),
        ("06 12 34 56 78", "<PHONE>"),
        ("0171 2345678", "<PHONE>"),
        ("020 7946 0958", "<PHONE>"),
        ("card 4111 1111 1111 1111 expires", "card <CARD> expires"),
        ("378282246310005", "<CARD>"),
        ("IBAN DE89 3704 0044 0532 0130 00, SEND", "IBAN <IBAN>, SEND"),
        ("GB82WEST12345698765432", "<IBAN>"),
        ("NL91 ABNA 0417 1643 00 PLEASE PAY", "<IBAN> PLEASE PAY"),
        ("FR14 2004 1010 0505 0001 3M02 606 THEN", "<IBAN> THEN"),
        ("host 192.168.0.17:8080", "host <IP>:8080"),
        ("from 2001:db8::ff00:42:8329 to", "from <IP> to"),
        ("sk-proj-abcdefgh12345678ijkl", "<KEY>"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "<KEY>"),
        ("AKIAIOSFODNN7EXAMPLE", "<KEY>"),
        ("Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer <KEY>"),
        ("password: hunter2hunter2", "password: <KEY>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "<KEY>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "<KEY>"),
    ],
)
def test_personal_and_secret_strings_become_placeholders(text: str, clean: str) -> None:
    assert scrub(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "order #48213 and order #4111111111111111",
        "2024-05-20 at 12:30:45, and 05-20-2024",
        "4111 1111 1111 1112 fails the checksum",
        "250000-100000-60000=90000 and 2,000,000-400,000",
        "version 1.2.3, chapter 1.2.3.4.5 and 999.1.1.1",
        "DE00 3704 0044 0532 0130 00",
        "std::vector<int> and a::b",
        "$1,234.56 for 12-24 items, 100 200 300",
        "sk-learn-based-pipelines-are-nice",
        "the secret is patience",
        "@mention and a @ b",
        "ZIP 90210-1234, flight HAT170, reservation 4WQ150, payment credit_card_7504069",
    ],
)
def test_orders_dates_prices_and_sums_survive(text: str) -> None:
    assert scrub(text) == text


@given(st.text(max_size=300))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@pytest.mark.parametrize(
    "unit", ["a@", "1.", "1 ", "+1 1", ":a", "A1", "eyJ", "eyJ-", "sk-", "password=", "-----BEGIN A"]
)
def test_hostile_texts_take_linear_time(unit: str) -> None:
    started = time.process_time()
    scrub(unit * (60_000 // len(unit)))

    assert time.process_time() - started < 2.0


def test_prompt_answers_and_verifier_targets_are_scrubbed_alike() -> None:
    asked = ask(
        "a",
        prompt="My mail is a@b.example",
        answer="Is it a@b.example?",
        verifiers=(Verifier(VerifierKind.EXACT, "a@b.example"),),
    )
    curated = made([asked, tell("a", FeedbackKind.EDIT, text="Noted: a@b.example")])
    (example,) = curated.examples

    assert example.prompt[0].content == "My mail is <EMAIL>"
    assert [branch.response.content for branch in example.branches] == ["Noted: <EMAIL>", "Is it <EMAIL>?"]
    assert example.verifiers[0].target == "<EMAIL>"
    assert curated.report["scrubbed"] == 1


def test_arguments_of_tools_stay_json_and_otherwise_as_they_were_written() -> None:
    written = '{"to":  "x\\nann@b.example", "card": 4111111111111111, "n": 12, "u": "\\u00e4"}'
    call = ToolCall(call_id="1", name="send", arguments=written)
    asked: Interaction = ask("a", before=(Message("user", "Send it"), Message("assistant", "", (call,))))
    (example,) = made([asked, tell("a", value=1.0)]).examples
    clean = example.prompt[1].tool_calls[0].arguments

    assert json.loads(clean) == {"to": "x\n<EMAIL>", "card": "<CARD>", "n": 12, "u": "ä"}
    assert clean == '{"to":  "x\\n<EMAIL>", "card": "<CARD>", "n": 12, "u": "\\u00e4"}'


@pytest.mark.parametrize("before", ["to=", "[" * 30_000, "1" * 5_000 + " "])
def test_arguments_that_python_cannot_read_as_json_are_scrubbed_as_text(before: str) -> None:
    call = ToolCall(call_id="1", name="send", arguments=f"{before}ann@b.example")
    asked = ask("a", before=(Message("user", "Send it"), Message("assistant", "", (call,))))
    (example,) = made([asked, tell("a", value=1.0)]).examples

    assert example.prompt[1].tool_calls[0].arguments == f"{before}<EMAIL>"


def test_scrubbing_can_be_switched_off() -> None:
    curated = made([ask("a", prompt="a@b.example"), tell("a", value=1.0)], replace(TRAIN_ALL, scrub=False))

    assert curated.examples[0].prompt[0].content == "a@b.example"
