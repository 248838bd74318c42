"""The library: what an application imports, and how it sends feedback."""

import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Thread

import pytest

import loop
from loop import FeedbackKind, Loop, NightshiftError, NotFoundError, Sampling, UsageError, errors, open_loop
from loop.cli.main import cli
from loop.intake.events import decode, encode, pseudonym
from loop.results import Replayed
from loop.settings import SETTINGS_FILE, without_addresses
from loop.testing import MemoryRegistry, memory_ports
from tests.candidates import make_candidate
from tests.project import edited

HEAVY = {"torch", "transformers", "mlflow", "great_expectations", "polars", "numpy", "kafka", "click"}
UNREAD = {"alembic", "huggingface_hub", "jinja2", "jsonschema", "matplotlib", "pandas", "peft", "pydantic", "scipy"}
UNREAD |= {"safetensors", "sqlalchemy", "tenacity"}
TERMINAL_ALONE = {"init", "demo", "topics", "schema", "chat"}
"""Verbs that make no sense in a program."""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / SETTINGS_FILE).touch()
    monkeypatch.chdir(tmp_path)
    for name in os.environ.keys() - without_addresses(os.environ).keys():
        monkeypatch.delenv(name)
    return tmp_path


def sent(made: Loop) -> list:
    made.app.log.seek(made.app.log.partitions()[0], 0)
    return [decode(entry.payload) for batch in made.app.log.poll(10_000) for entry in batch.entries]


def test_every_name_of_the_face_is_there_and_no_other():
    assert all(getattr(loop, name) is not None for name in loop.__all__)
    assert sorted(loop.__all__) == loop.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        loop.nothing  # noqa: B018


def test_sending_feedback_imports_nothing_heavy(project):
    code = (
        "import sys\nfrom loop import open_loop\nloop = open_loop()\n"
        'loop.feedback("i-1", "edit", text="Monday.", user="alice")\nprint(*sys.modules)'
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project)
    assert not HEAVY & set(loaded.stdout.split())


@pytest.mark.usefixtures("project")
def test_feedback_is_an_event_of_its_user_s_pseudonym():
    with open_loop() as made:
        first = made.feedback("i-1", "thumb", 1, user="alice")
        second = made.feedback("i-1", FeedbackKind.COMMENT, text="well said", user_key="0" * 32, feedback_id="f-2")
        thumb, comment = sent(made)
        assert (thumb.feedback_id, thumb.kind, thumb.value) == (first, FeedbackKind.THUMB, 1)
        assert thumb.user_key == pseudonym(made.app.user_secret, "alice")
        assert (comment.feedback_id, comment.user_key, second) == ("f-2", "0" * 32, "f-2")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("feedback", "said"),
    [
        (("i-1", "applause", 1), "no feedback of the kind 'applause'"),
        (("i-1", "thumb", 7), "thumb"),
        (("", "thumb", 1), "interaction_id"),
    ],
)
def test_feedback_that_says_nothing_is_refused_and_nothing_is_written(feedback, said):
    with open_loop() as made:
        with pytest.raises(UsageError, match=said):
            made.feedback(*feedback)
        assert sent(made) == []


@pytest.mark.usefixtures("project")
def test_eight_threads_and_two_forks_share_one_loop():
    made = open_loop()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: made.feedback(f"i-{number}", "thumb", 1, user="alice"), range(64)))
    children = []
    for child in range(2):
        if not (pid := os.fork()):
            code = 1
            try:
                for number in range(16):
                    made.feedback(f"c-{child}-{number}", "thumb", -1, user="alice")
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    made.feedback("i-64", "thumb", 1, user="alice")
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    events = sent(made)
    assert len(events) == len({event.feedback_id for event in events}) == 64 + 1 + 32
    assert len({event.user_key for event in events}) == 1
    made.close()


@pytest.mark.usefixtures("project")
def test_children_forked_while_a_thread_writes_can_write():
    made, ended = open_loop(), Event()
    made.feedback("first", "thumb", 1, user_key="0" * 32)  # Python itself cannot fork while another thread imports

    def write() -> None:
        for number in count():
            if ended.is_set():
                return
            made.feedback(f"i-{number}", "thumb", 1, user_key="0" * 32)

    writer = Thread(target=write)
    writer.start()
    children = []
    for child in range(6):
        if not (pid := os.fork()):
            code = 1
            signal.alarm(60)
            try:
                made.feedback(f"c-{child}", "thumb", -1, user_key="0" * 32)
                code = 0
            finally:
                os._exit(code)
        children.append(pid)
    ended.set()
    writer.join()
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 6
    made.close()


def test_a_host_that_shares_a_database_takes_pseudonyms_only_where_it_lacks_their_key(project, monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_STORE_URL", f"sqlite:///{project}/shared.db")
    with open_loop() as made:
        with pytest.raises(UsageError, match="NIGHTSHIFT_USER_SECRET"):
            made.feedback("i-1", "thumb", 1, user="alice")
        made.feedback("i-1", "thumb", 1, user_key="0" * 32)
    monkeypatch.setenv("NIGHTSHIFT_USER_SECRET", "as everywhere")
    with open_loop() as made:
        made.feedback("i-1", "thumb", 1, user="alice")
        assert [event.user_key for event in sent(made)] == ["0" * 32, pseudonym("as everywhere", "alice")]


def test_a_folder_that_is_no_project_is_refused_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NIGHTSHIFT_HOME", raising=False)
    with pytest.raises(UsageError, match="is no project"):
        open_loop()
    assert list(tmp_path.iterdir()) == []


def test_another_home_and_other_settings_are_named_at_once(project):
    made = open_loop(home=project / "elsewhere", overrides={"model.name": "helpdesk"})
    assert made.champion() == 0
    assert (project / "elsewhere" / "ledger.db").exists()
    assert made.app.settings.model.name == "helpdesk"


def test_an_application_tests_itself_on_ports_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open_loop(ports=memory_ports(tmp_path)) as made:
        made.feedback("i-1", "thumb", 1, user_key="0" * 32)
        assert made.capture().feedback == 1
        assert (made.champion(), list(made.nights()), list(made.history())) == (0, [], [])
    assert list(tmp_path.iterdir()) == []


def test_every_verb_of_the_command_is_a_method_of_the_loop():
    verbs = {name.replace("-", "_") for name in cli.commands}
    methods = {"import": "import_file", "dlq": "dead_letters", "reconcile": "reconcile"}
    lacking = {verb for verb in verbs if not hasattr(Loop, methods.get(verb, verb))}
    assert lacking == TERMINAL_ALONE


def test_a_file_is_imported_and_its_bad_line_can_be_replayed_when_it_can_be_read(project):
    lines = [encode(event).payload.decode() for event in edited(1)]
    (project / "events.jsonl").write_text("\n".join(["nonsense", *lines]))
    with open_loop() as made:
        imported = made.import_file("events.jsonl")
        assert (imported.captured.interactions, imported.captured.feedback, imported.captured.dead_letters) == (1, 1, 1)
        assert not imported.nothing
        assert "events.jsonl" in made.dead_letters()[0].source
        assert imported.refusal == made.dead_letters()[0].reason
        assert made.replay() == Replayed(sent=0, still_dead=1)
        assert made.import_file(project / "events.jsonl").captured.new_rows == 0
        assert made.status().counts["feedback"] == 1


def test_a_file_in_which_no_line_can_be_read_says_why(project):
    (project / "events.jsonl").write_text("nonsense\n")
    with open_loop() as made:
        imported = made.import_file("events.jsonl")
    assert imported.nothing
    assert "JSON" in imported.refusal


def test_a_dead_letter_is_found_by_the_first_digits_of_its_id(project):
    (project / "events.jsonl").write_text("one\ntwo\n")
    with open_loop() as made:
        made.import_file("events.jsonl")
        first, _ = made.dead_letters()
        assert made.dead_letter(first.letter_id[:12]) == first
        with pytest.raises(NotFoundError, match="2 dead letters"):
            made.dead_letter("")  # with which every id begins


def test_the_status_of_a_new_loop_is_the_base_model_and_no_night(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = open_loop(ports=memory_ports(tmp_path)).status()
    assert (found.champion, found.anchor, found.moved, found.nights, found.last_night) == (0, 0, None, (), None)


def test_the_doctor_finds_each_fault_by_name_and_goes_on_to_the_next_check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ports = memory_ports(tmp_path)
    registry = MemoryRegistry(tmp_path / "registry")
    with open_loop(overrides={"model.base": "absent.gguf"}, ports={**ports, "registry": registry}) as made:
        first = {finding.name: finding for finding in made.doctor()}
        made.promote(registry.register(make_candidate(tmp_path / "c", "c"), tmp_path / "c", {}), actor="a", reason="r")
        registry.aliases["champion"] = 0
        later = {finding.name: finding for finding in made.doctor()}
    assert {name for name, finding in first.items() if not finding.ok} == {"base model"}
    assert "absent.gguf does not exist" in first["base model"].text
    assert list(first)[-1] == "disk"
    assert (later["registry"].ok, later["ledger"].text) == (False, "1 rows, hash chain verified")
    assert "nightshift reconcile" in later["registry"].text


@pytest.mark.usefixtures("project")
def test_production_s_sampling_is_what_most_of_the_newest_interactions_had():
    usual, rare = Sampling(temperature=0.7, seed=4), Sampling(max_tokens=8)
    asked = [replace(edited(user)[0], sampling=rare if user == 1 else usual) for user in range(3)]
    with open_loop() as made:
        assert made.sampling() is None
        made.append(asked)
        made.capture()
        assert made.sampling() == replace(usual, seed=None)


def test_every_error_arrives_whole_in_another_process():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NightshiftError)]
    assert len(kinds) > 10
    for kind in kinds:
        again = pickle.loads(pickle.dumps(kind("it broke", "mend it")))  # noqa: S301 - made above
        assert (type(again), str(again), again.remedy) == (kind, "it broke\n  what to do: mend it", "mend it")


def test_a_type_checker_outside_sees_the_types(tmp_path):
    (tmp_path / "application.py").write_text(
        "from loop import open_loop\n\nreveal_type(open_loop().champion())\nopen_loop().feedback(7)\n"
    )
    # The libraries behind ours would only take minutes: none of their types is in the face.
    unread = ",".join(f"{name}.*" for name in sorted(HEAVY | UNREAD))
    skipped = f"[mypy-{unread}]\nfollow_imports = skip\nfollow_imports_for_stubs = true\n"
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n{skipped}")
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", str(tmp_path), "application.py"]
    told = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert 'Revealed type is "int"' in told or 'Revealed type is "builtins.int"' in told, told
    assert 'Missing positional argument "kind"' in told, told
