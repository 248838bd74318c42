import json
import random

import pytest

from connectors.imports import decoders, read
from loop.intake.events import encode
from loop.types import DeadLetter
from tests.builders import KEY

ASK = {"role": "user", "content": "How much is 2+2?"}
SAY = {"role": "assistant", "content": "4, of course"}
ATTEMPT = {"is_correct": True, "solution": "2+2\nA: 4"}
LINES = {
    "nightshift": {
        "id": "f1",
        "source": "app",
        "type": "nightshift.feedback",
        "time": "2026-03-01T12:00:00Z",
        "data": {"interaction_id": "i1", "kind": "edit", "text": "four"},
    },
    "openai-chat": {"messages": [ASK, SAY], "feedback": {"edit": "four"}},
    "pairs": {"chosen": [ASK, SAY], "rejected": [ASK, SAY]},
    "gsm8k": {"question": "2+2?", "ground_truth": "A: 4", "6b": ATTEMPT, "175b": ATTEMPT},
    "gsm8k-solutions": {"question": "2+2?", "answer": "2+2\n#### 4"},
    "tau-bench": {"task_id": 1, "trial": 0, "reward": 1.0, "traj": [ASK, SAY]},
    "otel": {
        "resourceLogs": [
            {
                "scopeLogs": [
                    {
                        "logRecords": [
                            {
                                "eventName": "gen_ai.evaluation.result",
                                "timeUnixNano": "1772366400000000000",
                                "traceId": "5b8efff798038103d269b633813fc60c",
                                "spanId": "eee19b7ec3c1b174",
                                "attributes": [
                                    {"key": "gen_ai.evaluation.name", "value": {"stringValue": "Relevance"}},
                                    {"key": "gen_ai.evaluation.score.label", "value": {"stringValue": "pass"}},
                                ],
                            }
                        ]
                    }
                ]
            }
        ]
    },
    "langfuse": {
        "id": "o1",
        "type": "GENERATION",
        "trace_id": "t1",
        "start_time": "2026-03-01 12:00:00.000000",
        "input": [ASK],
        "output": SAY,
    },
    "tensorzero": {
        "id": "019ca949-9a00-7000-8000-000000000001",
        "function_name": "sums",
        "variant_name": "small",
        "episode_id": "019ca949-9a00-7000-8000-000000000002",
        "input": {"system": "Add.", "messages": [{"role": "user", "content": [{"type": "text", "text": "2+2?"}]}]},
        "output": [{"type": "text", "text": "4"}],
    },
}
WRONG = ({"x": 1}, [[7]], 10**400, float("nan"), float("inf"))

Line = dict[str, object]


def truncated(chance: random.Random, line: Line) -> bytes:
    raw = json.dumps(line).encode()
    return raw[: chance.randrange(1, len(raw))].strip()


def not_utf8(chance: random.Random, line: Line) -> bytes:
    raw = bytearray(json.dumps(line).encode())
    raw[chance.randrange(len(raw))] |= 0x80
    return bytes(raw)


def of_wrong_type(chance: random.Random, line: Line) -> bytes:
    changed = json.loads(json.dumps(line))
    place, key = chance.choice(list(_leaves(changed)))
    place[key] = chance.choice(WRONG)
    return json.dumps(changed).encode()


def _leaves(node):
    for key in node if isinstance(node, dict) else range(len(node)):
        if isinstance(node[key], dict | list):
            yield from _leaves(node[key])
        else:
            yield node, key


def deep(chance: random.Random, line: Line) -> bytes:
    levels = 10 ** chance.randint(3, 5)
    return json.dumps(line).encode()[:-1] + b', "metadata": ' + b"[" * levels + b"]" * levels + b"}"


def with_huge_number(chance: random.Random, line: Line) -> bytes:
    digits = b"%d" % chance.randint(1, 9) * chance.randint(5_000, 50_000)
    return json.dumps(line).encode()[:-1] + b', "metadata": %b, "schema_version": %b}' % (digits, digits)


def wrapped(chance: random.Random, line: Line) -> bytes:
    return json.dumps(chance.choice([[line], [[line]], "line", 5, {"line": line}])).encode()


def flipped(chance: random.Random, line: Line) -> bytes:
    """Bits flipped anywhere: mostly malformed, sometimes another valid line."""
    raw = bytearray(json.dumps(line).encode())
    for _ in range(chance.randint(1, 6)):
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw).replace(b"\n", b"?").replace(b"\r", b"?")


MALFORMED = (truncated, not_utf8, of_wrong_type, deep, with_huge_number, wrapped)
JSONL = [name for name in decoders if name != "tau-bench"]
MAY_BE_SILENT = {"otel", "langfuse", "tensorzero"}
"""Their lines may be of things that are no events, and one flipped bit of a name or a type makes such a line."""


@pytest.mark.parametrize("format_name", JSONL)
def test_each_of_200_malformed_lines_becomes_a_dead_letter_and_none_is_lost(tmp_path, format_name):
    chance = random.Random(format_name)
    bad = [MALFORMED[number % len(MALFORMED)](chance, LINES[format_name]) for number in range(200)]
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join(bad))
    letters = list(read(tmp_path / "bad.jsonl", format_name, secret=KEY))
    assert {type(letter) for letter in letters} == {DeadLetter}
    assert all(letter.reason for letter in letters)
    assert [(letter.position, letter.payload) for letter in letters] == list(enumerate(bad, start=1))


def test_each_malformed_conversation_becomes_a_dead_letter_and_none_is_lost(tmp_path):
    chance = random.Random(0)
    damages = (of_wrong_type, deep, with_huge_number, wrapped)
    bad = [damages[number % len(damages)](chance, LINES["tau-bench"]) for number in range(200)]
    (tmp_path / "bad.json").write_bytes(b"[" + b",\n".join(bad) + b"]")
    letters = list(read(tmp_path / "bad.json", "tau-bench", secret=KEY))
    assert {type(letter) for letter in letters} == {DeadLetter}
    assert [(letter.position, letter.payload) for letter in letters] == list(enumerate(bad, start=1))


@pytest.mark.parametrize("format_name", JSONL)
def test_flipped_bits_never_stop_an_import_and_every_line_ends_as_events_or_as_a_letter(tmp_path, format_name):
    chance = random.Random(format_name)
    lines = [flipped(chance, LINES[format_name]) for _ in range(200)]
    lengths = []
    for raw in lines:
        (tmp_path / "one.jsonl").write_bytes(raw)
        events = list(read(tmp_path / "one.jsonl", format_name, secret=KEY))
        lengths.append(len(events))
        assert all(encode(event).payload for event in events)
    assert min(lengths) >= (0 if format_name in MAY_BE_SILENT else 1)


def test_a_conversation_array_damaged_anywhere_never_stops_an_import(tmp_path):
    chance = random.Random(1)
    text = json.dumps([LINES["tau-bench"]] * 3).encode()
    for _ in range(200):
        raw = bytearray(text)
        raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
        (tmp_path / "one.json").write_bytes(raw)
        assert all(encode(event).payload for event in read(tmp_path / "one.json", "tau-bench", secret=KEY))


@pytest.mark.parametrize("format_name", decoders)
def test_the_undamaged_line_is_readable(tmp_path, format_name):
    (tmp_path / "good.jsonl").write_text(json.dumps(LINES[format_name]))
    events = list(read(tmp_path / "good.jsonl", format_name, secret=KEY))
    assert events
    assert DeadLetter not in {type(event) for event in events}
