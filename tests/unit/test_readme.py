"""The README's command reference is the commands' own help; `python tests/unit/test_readme.py` writes it anew."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from loop.cli.main import cli

README = Path(__file__).parents[2] / "README.md"
REFERENCE = re.compile(r"(?<=<!-- commands -->\n).*?(?=<!-- end of commands -->)", re.DOTALL)


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


def test_the_command_reference_is_what_the_commands_say_of_themselves():
    written = REFERENCE.search(README.read_text())
    assert written is not None
    assert written[0] == reference()


if __name__ == "__main__":
    README.write_text(REFERENCE.sub(lambda _: reference(), README.read_text()))
