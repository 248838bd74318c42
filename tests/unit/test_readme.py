"""The READMEs say what is: their commands, paths, settings and variables exist, and the first one stays short.

`python tests/unit/test_readme.py` writes what is generated: the command reference in loop/README.md.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import click
import pytest

from loop import __version__, alarms
from loop.cli.main import cli
from loop.settings import KafkaAccess, Settings, addresses
from loop.settings.environment import KAFKA
from loop.settings.file import ELSEWHERE
from tests.infra import unread

ROOT = Path(__file__).parents[2]
LONGEST = 8_192
"""Bytes of the first README: what somebody reads in five minutes."""
READMES = {
    name: (ROOT / name).read_text()
    for name in (
        "README.md",
        "connectors/imports/README.md",
        "evals/README.md",
        "infra/README.md",
        "loop/README.md",
        "loop/training/README.md",
        "tests/benchmarks/README.md",
    )
}
REFERENCE = ROOT / "loop" / "README.md"
COMMANDS = re.compile(r"(?<=<!-- commands -->\n).*?(?=<!-- end of commands -->)", re.DOTALL)

FENCED = re.compile(r"^```\w*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"(?<![\w./:-])(?:loop|connectors|evals|infra|tests)/[\w./-]*\w")
OURS = ("loop", "connectors", "evals", "infra", "tests")
MADE = {"infra/.env"}
"""What somebody makes who follows a README."""


def spans(text: str) -> list[str]:
    """What stands in backticks outside of blocks."""
    return SPAN.findall(FENCED.sub("", text))


def commands(text: str) -> Iterator[tuple[str, bool]]:
    """Arguments of every `nightshift` command, and whether it is a whole one, in a block, or only spoken of."""
    for block in FENCED.findall(text):
        for line in block.splitlines():
            if found := re.match(r"(?:.* exec night |.*/bin/)?nightshift (?P<rest>.*)", line):
                yield found["rest"], True
    for span in spans(COMMANDS.sub("", text)):
        if found := re.match(r"(?:.* exec night |.*/bin/)?nightshift (?P<rest>.*)", span):
            yield found["rest"], False


def parse(arguments: list[str], *, whole: bool) -> None:
    """Raises click.UsageError for what the command line does not know; words in capitals stand for a number."""
    filled = ["1" if re.fullmatch(r"[A-Z_]+", word) else word for word in arguments]
    context, command = click.Context(cli, info_name="nightshift"), cli
    try:
        while isinstance(command, click.Group):
            context = command.make_context("nightshift", filled, context)
            _, found, filled = command.resolve_command(context, [*context._protected_args, *context.args])
            command = found or pytest.fail(f"no command {filled}")
        command.make_context(command.name, filled, context)
    except click.MissingParameter:
        if whole:
            raise
    except click.exceptions.Exit:
        return  # --help


@pytest.mark.parametrize("name", READMES)
def test_every_command_of_a_readme_is_one_that_the_command_line_takes(name: str) -> None:
    for text, whole in commands(READMES[name]):
        parse(shlex.split(text, comments=True), whole=whole)


def test_a_command_that_the_command_line_does_not_know_is_found() -> None:
    for wrong in ("nights --newest", "import a.jsonl --format csv", "no-such-verb", "dlq forget"):
        with pytest.raises(click.UsageError):
            parse(wrong.split(), whole=False)
    with pytest.raises(click.UsageError):
        parse(["import"], whole=True)


@pytest.mark.parametrize("name", READMES)
def test_every_link_and_every_path_of_a_readme_leads_somewhere(name: str) -> None:
    folder = (ROOT / name).parent
    linked = [target for target in LINK.findall(READMES[name]) if "://" not in target]
    assert [target for target in linked if not (folder / target.partition("#")[0]).exists()] == []
    beside = [
        span for span in spans(READMES[name]) if re.fullmatch(r"[\w./-]+\.(py|yaml|sh|service|timer|example)", span)
    ]
    places = (folder, ROOT, *(path for path in folder.iterdir() if path.is_dir()))
    assert [path for path in beside if not any((place / path).exists() for place in places)] == []
    whole = set(PATH.findall(READMES[name])) - MADE
    assert [path for path in whole if not (ROOT / path).exists()] == []


def test_every_readme_can_be_reached_from_the_first() -> None:
    linked = {(ROOT / target).resolve() for target in LINK.findall(READMES["README.md"]) if "://" not in target}
    assert {ROOT / name for name in READMES} - {ROOT / "README.md"} <= linked
    kept = {path for folder in OURS for path in (ROOT / folder).rglob("README.md")}
    assert kept == {ROOT / name for name in READMES} - {ROOT / "README.md"}


def test_the_first_readme_takes_five_minutes() -> None:
    assert len(READMES["README.md"].encode()) <= LONGEST


def test_the_changelog_has_versions_and_under_each_the_headings_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    versions = re.findall(r"^## \[(.+)\]", text, re.MULTILINE)
    assert versions[0] == "Unreleased"
    assert versions[1] == __version__
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    assert all((ROOT / target).exists() for target in LINK.findall(text) if "://" not in target)


def variables() -> set[str]:
    """Every variable that the settings read."""
    source = (ROOT / "loop" / "settings" / "environment.py").read_text()
    named = set(re.findall(r'"((?:NIGHTSHIFT|MLFLOW)_[A-Z_]*[A-Z])"', source))
    return named | {KAFKA + field.name.upper() for field in dataclasses.fields(KafkaAccess)}


def test_the_table_of_the_environment_has_every_variable_that_is_read_and_no_other() -> None:
    rows = [line for line in READMES["infra/README.md"].splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`((?:NIGHTSHIFT|MLFLOW)_\w+)`", row.split("|")[1])}
    assert told == variables()


@pytest.mark.parametrize("name", READMES)
def test_every_variable_that_a_readme_names_is_read(name: str) -> None:
    told = set(re.findall(r"\b(?:NIGHTSHIFT_\w+|MLFLOW_TRACKING_URI)\b", READMES[name]))
    served = re.findall(r'^BASE_VARIABLE = "(\w+)"$', (ROOT / "loop/models/pyfunc.py").read_text(), re.MULTILINE)
    assert told - variables() - {*served} == set()


def test_a_variable_changes_what_the_settings_are() -> None:
    values = {"PROTOCOL": "SSL", "MECHANISM": "PLAIN", "ALLOW_PLAINTEXT": "1"}
    told = {name: values.get(name.removeprefix(KAFKA), "x:1") for name in variables()}
    assert addresses(told).kafka
    assert set(unread(told)) <= {name for name in told if not name.startswith(KAFKA)}


def keys() -> dict[str, dict[str, Any]]:
    """The type of each key of each section, and of each table within one under `section.table`."""
    sections = {name: owner for name, owner in get_type_hints(Settings).items() if name not in {*ELSEWHERE, "suites"}}
    found = {name: get_type_hints(owner) for name, owner in sections.items()}
    for name in sections:
        for key, kind in list(found[name].items()):
            if dataclasses.is_dataclass(kind):
                found[f"{name}.{key}"] = get_type_hints(kind)
    return found


def words() -> set[str]:
    """Settings, the values that they may have, and alarms."""
    found = {key for section in keys().values() for key in section}
    found |= {value for types_ in keys().values() for kind in types_.values() for value in _values(kind)}
    found |= set(re.findall(r'found\["(\w+)"\]', Path(alarms.__file__).read_text()))
    return found


def _values(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


@pytest.mark.parametrize("name", READMES)
def test_every_setting_that_a_readme_names_with_its_section_exists(name: str) -> None:
    sections = keys()
    dotted = [found for span in spans(READMES[name]) if (found := re.match(r"([a-z]+)\.([a-z_]+)\b", span))]
    of_sections = [found for found in dotted if found[1] in sections and found[2] != "py"]
    assert [found[0] for found in of_sections if found[2] not in sections[found[1]]] == []
    headed = [found for text in spans(READMES[name]) if (found := re.fullmatch(r"\[(\w+)\]", text))]
    assert [found[0] for found in headed if found[1] not in sections] == []


def test_every_setting_that_the_training_names_exists() -> None:
    plain = [span for span in spans(READMES["loop/training/README.md"]) if re.fullmatch(r"[a-z]+(_[a-z]+)+", span)]
    assert len(plain) > 10
    assert [span for span in plain if span not in words()] == []


def test_the_command_reference_is_what_the_commands_say_of_themselves() -> None:
    written = COMMANDS.search(REFERENCE.read_text())
    assert written is not None
    assert written[0] == reference()


def reference() -> str:
    rows = [f"| `{_usage(name, command)}` | {_meaning(command)} |" for name, command in _verbs(cli)]
    return "\n".join(["| command | what it does |", "|---|---|", *rows]) + "\n"


def _verbs(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _verbs(command, f"{before}{name} ")
        else:
            yield before + name, command


def _usage(name: str, command: click.Command) -> str:
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    options = [_option(p) for p in command.params if isinstance(p, click.Option)]
    return " ".join(["nightshift", name, *arguments, *(f"[{option}]" for option in options)]).replace("|", "\\|")


def _option(option: click.Option) -> str:
    name = max(option.opts, key=len)
    return name if option.is_flag else f"{name} {option.make_metavar(click.Context(cli))}"


def _meaning(command: click.Command) -> str:
    return " ".join((command.help or "").split())


if __name__ == "__main__":
    REFERENCE.write_text(COMMANDS.sub(lambda _: reference(), REFERENCE.read_text()))
