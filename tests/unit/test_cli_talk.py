"""ask and chat: what the model is shown, how its answer is drawn, and that it is the answer that generate gives."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loop import settings
from loop.app import App
from loop.cli.conversation import Flags, sampling
from loop.cli.main import cli
from loop.cli.session import Session
from loop.errors import NotFoundError, UsageError
from loop.models import LanguageModel, load
from loop.ports import Batch, Parsed, Partition
from loop.testing import MemoryLedger, MemoryStore
from loop.types import Interaction, Message, Sampling
from tests.builders import interaction
from tests.tiny import tiny_model

WARM = ("--temperature", "1", "--seed", "5", "--max-tokens", "12")
DRAWN = Sampling(temperature=1.0, seed=5, max_tokens=12)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(base: Path) -> LanguageModel:
    return load(base, dtype="float32")


@pytest.fixture
def session(base: Path, tmp_path: Path) -> Iterator[Session]:
    chosen = settings.load(overrides={"model.base": str(base), "model.dtype": "float32"})
    opened = Session(App(replace(chosen, addresses=settings.Addresses(home=tmp_path / "home"))))
    yield opened
    opened.app.ledger.close()


def call(session: Session, *arguments: str, typed: str = "") -> Result:
    return CliRunner().invoke(cli.commands[arguments[0]], arguments[1:], obj=session, input=typed)


def error(done: Result) -> UsageError:
    assert isinstance(done.exception, UsageError)
    return done.exception


def store_with(*drawn: Sampling | None) -> MemoryStore:
    store, partition = MemoryStore(), Partition("events", 0)
    asked: tuple[Interaction, ...] = tuple(replace(interaction(n), sampling=each) for n, each in enumerate(drawn))
    store.ingest(Parsed(Batch(partition, 0, 1, ()), asked, (), ()))
    return store


def test_an_answer_is_the_one_that_generate_gives_to_the_same_messages(session, model):
    said = call(session, "ask", *WARM, "--system", "Be short.", "Where is my parcel?")
    messages = [Message("system", "Be short."), Message("user", "Where is my parcel?")]
    assert said.stdout == model.generate([messages], DRAWN)[0].text + "\n"
    assert said.stderr == "assistant@0: temperature 1, top-p 1, at most 12 tokens, seed 5 (as you say)\n"
    assert not session.app.home.exists()


def test_a_question_may_come_from_standard_input(session, model):
    said = call(session, "ask", *WARM, "-", typed="Where is 👋?\nAnd why?\n")
    assert said.stdout == model.generate([[Message("user", "Where is 👋?\nAnd why?")]], DRAWN)[0].text + "\n"


@pytest.mark.parametrize("shape", ["list", "object"])
def test_messages_of_a_file_come_before_the_question(session, model, tmp_path, shape):
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "Hello."}]
    (tmp_path / "m.json").write_text(json.dumps(turns if shape == "list" else {"messages": turns, "model": "x"}))
    said = call(session, "ask", *WARM, "--file", str(tmp_path / "m.json"), "--system", "Be short.", "refund")
    messages = [
        Message("system", "Be short."),
        Message("user", "hi"),
        Message("assistant", "Hello."),
        Message("user", "refund"),
    ]
    assert said.stdout == model.generate([messages], DRAWN)[0].text + "\n"


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("{", "not JSON"),
        ("[]", "has no messages"),
        ("{}", "has no messages"),
        ("3", "holds no messages"),
        ('{"messages": 3}', "holds no messages"),
        ('[{"role": "pirate", "content": "x"}]', "pirate"),
        ('[{"role": "user", "content": 3}]', "0"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_the_right_one(session, tmp_path, content, names):
    (tmp_path / "m.json").write_text(content)
    refused = error(call(session, "ask", "--file", str(tmp_path / "m.json")))
    assert names in refused.what
    assert '"role": "user"' in refused.remedy


@pytest.mark.parametrize(
    ("arguments", "said"), [((), "nothing is asked"), (("",), "empty"), ((" ",), "empty"), (("-",), "empty")]
)
def test_nothing_is_no_question(session, arguments, said):
    assert said in error(call(session, "ask", *arguments)).what


def test_what_can_be_read_in_two_ways_is_refused(session, tmp_path):
    path = tmp_path / "m.json"
    path.write_text('[{"role": "system", "content": "a"}, {"role": "assistant", "content": "b"}]')
    assert "system message already" in error(call(session, "ask", "--system", "s", "--file", str(path), "x")).what
    assert "nothing is asked" in error(call(session, "ask", "--file", str(path))).what
    assert "contradict" in error(call(session, "ask", "--greedy", "--temperature", "1", "x")).what
    assert "cannot be read" in error(call(session, "ask", "--file", str(tmp_path / "absent"), "x")).what


def test_answers_are_drawn_as_most_of_the_newest_interactions_were():
    usual, rare = Sampling(temperature=0.7, top_p=0.9, max_tokens=300, seed=4), Sampling(max_tokens=8)
    chosen, why = sampling(Flags(), store_with(rare, None, usual, replace(usual, seed=9), None))
    assert chosen == replace(usual, seed=None)
    assert why == "as most of the newest interactions"
    assert sampling(Flags(max_tokens=5, seed=1), store_with(usual))[0] == replace(usual, max_tokens=5, seed=1)
    assert sampling(Flags(), store_with(*[usual] * 60, *[rare] * 99))[0] == rare


def test_where_no_interaction_says_how_it_was_drawn_answers_are_greedy():
    assert sampling(Flags(), store_with(None)) == (Sampling(), "no stored interaction says how it was drawn")


def test_the_log_says_how_long_the_first_word_took(session, caplog):
    caplog.set_level(logging.INFO, "loop")
    call(session, "ask", *WARM, "refund")
    assert [record.message for record in caplog.records if record.message.startswith("first word after ")]


def test_asking_reads_the_ledger_once(session):
    class Counting(MemoryLedger):
        read = 0

        def entries(self):
            self.read += 1
            return super().entries()

    ledger = Counting()
    asked = Session(App(session.app.settings, ports={"ledger": ledger}))
    assert call(asked, "ask", *WARM, "refund").exit_code == 0
    assert ledger.read == 1


def test_a_version_that_nobody_registered_is_named(session):
    refused = call(session, "ask", "--greedy", "--version", "3", "x")
    assert isinstance(refused.exception, NotFoundError)
    assert not session.app.home.exists()


def test_a_chat_goes_on_from_what_was_said(session, model):
    said = call(session, "chat", *WARM, "--system", "Be short.", typed="hi\n\nrefund\n")
    messages = [Message("system", "Be short."), Message("user", "hi")]
    first = model.generate([messages], DRAWN)[0].text
    messages += [Message("assistant", first), Message("user", "refund")]
    assert said.stdout == f"{first}\n{model.generate([messages], DRAWN)[0].text}\n"


def test_a_chat_in_json_has_an_object_a_turn(session):
    told = call(replace(session, as_json=True), "chat", *WARM, typed="hi\nrefund\n").stdout.splitlines()
    assert [json.loads(line)["sampling"]["seed"] for line in told] == [5, 5]
    assert len(told) == 2
