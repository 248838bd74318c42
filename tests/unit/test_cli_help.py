"""What the command says of itself: grouped, whole at 80 columns, with the next step at the end."""

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from loop.cli import terminal
from loop.cli.main import GROUPS, cli, summary
from tests.project import nightshift
from tests.verbs import leaves

COLUMNS = 80
SUMMARY = 55
ALL = [(), *sorted({tuple(name.split()[:depth]) for name, _ in leaves() for depth in (1, 2)})]


def shown(*path: str) -> str:
    done = CliRunner().invoke(cli, [*path, "--help"], prog_name="nightshift")
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_page_of_help_is_whole_at_80_columns(path):
    usage, *lines = shown(*path).splitlines()
    assert usage.startswith(" ".join(("Usage: nightshift", *path)))
    assert not [line for line in (usage, *lines) if len(line) > COLUMNS]
    assert not [line for line in lines if "..." in line]


def test_every_verb_is_in_one_group_with_one_line():
    listed = [command for commands in GROUPS.values() for command in commands]
    assert sorted(command.name for command in listed) == sorted(cli.commands)
    long = {command.name: summary(command) for command in listed if not 10 < len(summary(command)) <= SUMMARY}
    assert long == {}
    lines = shown().splitlines()
    for heading, commands in GROUPS.items():
        at = lines.index(f"{heading}:")
        assert [line.split()[0] for line in lines[at + 1 : at + 1 + len(commands)]] == [each.name for each in commands]


def test_the_verbs_of_a_verb_have_one_line_each_too():
    inner = [command for name, command in leaves() if " " in name]
    assert inner
    assert not [command.name for command in inner if not 10 < len(summary(command)) <= SUMMARY]


@pytest.mark.parametrize("option", ["--json", "--set", "-v"])
def test_an_option_of_every_command_that_stands_behind_its_verb_is_told_its_place(tmp_path, option):
    done = nightshift("schema", option, folder=tmp_path)
    assert done.returncode == 2
    assert f"stand before it: nightshift {option} ..." in done.stderr


ROWS = [["night-0001", "PROMOTE", "one two three four five six seven eight nine ten"], ["n", "FAILED", ""]]


def test_a_table_is_plain_lines_where_nobody_looks():
    plain = click.unstyle(terminal.table(ROWS, ("night", "result", "why")))
    assert plain == f"night-0001  PROMOTE  {ROWS[0][2]}\nn           FAILED"


def test_a_table_on_a_terminal_has_headers_and_breaks_no_line(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    lines = click.unstyle(terminal.table(ROWS, ("night", "result", "why"))).splitlines()
    assert lines[0] == "night       result   why"
    assert max(map(len, lines)) <= 50
    assert " ".join(line[21:].strip() for line in lines[1:-1]) == ROWS[0][2]


SHOW = "import sys; sys.argv = ['nightshift', 'status']; from loop.cli import main; main()"


@pytest.mark.parametrize(("variable", "coloured"), [("LANG", True), ("NO_COLOR", False)])
def test_colours_are_for_terminals_whose_user_wants_them(tmp_path, variable, coloured):
    pty = pytest.importorskip("pty", reason="this machine has no pseudo-terminals")
    read: list[bytes] = []

    def keep(source: int) -> bytes:
        import os

        read.append(os.read(source, 1024))
        return read[-1]

    code = f"import os; os.chdir({str(tmp_path)!r}); os.environ[{variable!r}] = 'C'; {SHOW}"
    pty.spawn([sys.executable, "-c", code], keep)
    said = b"".join(read)
    assert b"is no project" in said
    assert (b"\x1b[" in said) == coloured


def test_the_next_step_goes_to_standard_error_and_not_into_json(tmp_path):
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        done = nightshift(*arguments, folder=tmp_path)
        done.check_returncode()
        return done

    assert call("init").stderr.startswith("next: ")
    (tmp_path / "empty.jsonl").touch()
    imported = call("import", "empty.jsonl")
    assert (imported.stderr, "next" in imported.stdout) == ("next: nightshift run\n", False)
    assert call("--json", "import", "empty.jsonl").stderr == ""
