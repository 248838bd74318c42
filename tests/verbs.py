"""Every verb of the command, those of its groups included."""

from collections.abc import Iterator

import click

from loop.cli.main import cli


def leaves(group: click.Group = cli, before: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Each verb by the words that call it."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*before, name))
        else:
            yield " ".join((*before, name)), command
