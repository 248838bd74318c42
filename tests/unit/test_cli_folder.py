"""Which verb works in which folder, and which of them may make a home there."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from loop.cli.main import cli
from loop.cli.verbs import Access, Verb
from loop.errors import UsageError
from loop.settings import without_addresses
from tests.project import make_project, nightshift
from tests.verbs import leaves

ANYWHERE, READS, WRITES, NIGHT = Access.ANYWHERE, Access.READS, Access.WRITES, Access.NIGHT

VERBS: dict[str, Access] = {
    "init": ANYWHERE,
    "doctor": ANYWHERE,
    "demo": ANYWHERE,
    "import absent.jsonl": WRITES,
    "capture --until-caught-up": WRITES,
    "topics create": WRITES,
    "dlq list": READS,
    "dlq show 0": READS,
    "dlq replay": WRITES,
    "schema": ANYWHERE,
    "curate": NIGHT,
    "validate s": NIGHT,
    "run": NIGHT,
    "status": READS,
    "nights": READS,
    "train s": NIGHT,
    "register c": NIGHT,
    "evaluate c": NIGHT,
    "decide e": NIGHT,
    "prune --keep 1": WRITES,
    "promote 1 --force --reason r": WRITES,
    "rollback": WRITES,
    "approve 1": WRITES,
    "reconcile": WRITES,
    "history": READS,
    "ask hello": READS,
    "chat": READS,
}
"""Every verb with arguments that it takes: a new one is added here with what it may do."""


def of(access: Access) -> list[str]:
    return [line for line, has in VERBS.items() if has is access]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to stand in, where nothing in the environment names a service."""
    for name in os.environ.keys() - without_addresses(os.environ).keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(line: str, *options: str) -> Result:
    return CliRunner().invoke(cli, [*options, *line.split()], prog_name="nightshift")


def test_every_verb_says_what_it_may_do_to_the_folder():
    said = {name: command.access if isinstance(command, Verb) else None for name, command in leaves()}
    assert said == {
        name: next((a for line, a in VERBS.items() if f"{line} ".startswith(f"{name} ")), 0) for name in said
    }
    assert len(said) == len(VERBS)


@pytest.mark.parametrize("line", of(READS) + of(WRITES) + of(NIGHT))
def test_a_folder_without_a_project_is_refused_and_left_as_it_was(folder, line):
    refused = call(line)
    assert isinstance(refused.exception, UsageError)
    assert str(folder) in refused.exception.what
    assert "nightshift init" in refused.exception.remedy
    assert not [*folder.iterdir()]


@pytest.mark.parametrize("line", of(READS))
def test_a_verb_that_reads_makes_no_home(folder, line):
    (folder / "nightshift.toml").touch()
    call(line, "--set", "model.base=absent.gguf")
    assert [path.name for path in folder.iterdir()] == ["nightshift.toml"]


@pytest.mark.parametrize("line", ["schema", "doctor"])
def test_what_helps_to_begin_leaves_no_home(folder, line):
    call(line, "--set", "model.base=absent.gguf")
    assert not [*folder.iterdir()]


@pytest.mark.parametrize("line", ["curate", "rollback", "dlq replay"])
@pytest.mark.parametrize("home", ["absent", "empty"])
def test_the_first_verb_that_writes_makes_the_home_also_in_an_empty_volume(folder, line, home):
    (folder / "nightshift.toml").touch()
    if home == "empty":
        (folder / ".nightshift").mkdir()
    call(line)
    assert [*(folder / ".nightshift").iterdir()]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NIGHTSHIFT_LEDGER_URL", "sqlite:///elsewhere.db"),
        ("NIGHTSHIFT_STORE_URL", "sqlite:///elsewhere.db"),
        ("NIGHTSHIFT_KAFKA_SERVERS", "127.0.0.1:1"),
    ],
)
def test_an_address_in_the_environment_is_a_project_and_reading_it_makes_no_file(folder, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert call("history").stdout == "nothing was promoted yet\n"
    assert call("nights").stdout == "none yet\n"
    assert not [*folder.iterdir()]


def test_settings_elsewhere_are_named_with_config(folder):
    (folder / "elsewhere.toml").touch()
    assert call("history", "--config", "elsewhere.toml").exit_code == 0


def test_a_home_with_a_ledger_needs_no_settings(folder):
    (folder / "nightshift.toml").touch()
    call("rollback")
    (folder / "nightshift.toml").unlink()
    assert call("history").stdout == "nothing was promoted yet\n"


def test_a_verb_that_reads_finds_what_another_wrote(tmp_path):
    folder = make_project(tmp_path)
    assert nightshift("import", "events.jsonl", folder=folder).returncode == 0
    assert "60 interaction" in nightshift("status", folder=folder).stdout


def test_a_night_in_a_wrong_folder_ends_with_the_code_of_wrong_usage(tmp_path):
    refused = nightshift("run", folder=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Traceback" not in refused.stderr


def test_doctor_leads_to_init_where_there_is_no_project_yet(tmp_path: Path) -> None:
    assert "next: nightshift init" in nightshift("doctor", folder=tmp_path).stderr


def test_doctor_loads_the_base_model_of_a_new_project_and_makes_no_home(tmp_path: Path) -> None:
    folder = make_project(tmp_path)
    told = nightshift("doctor", "--model", folder=folder)
    assert "ok   model       assistant@0 on" in told.stdout, told.stdout + told.stderr
    assert not (folder / ".nightshift").exists()
