"""The session that every verb gets: the loop it works on, and the way it prints."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import click

from loop.app import App
from loop.library import Loop


@dataclass(frozen=True)
class Session:
    """One invocation of the command."""

    app: App
    as_json: bool = False

    @property
    def loop(self) -> Loop:
        """The library's loop, whose methods the verbs call."""
        return Loop(self.app)

    def show(self, text: str, values: Mapping[str, object], *, then: str = "") -> None:
        """Print `text` for people and what they may do `then`, or `values` as one JSON object with --json.

        The next step goes to standard error, so that `$(nightshift curate)` is an id and nothing else.
        """
        if self.as_json:
            # `str` for times and paths, which JSON does not have.
            click.echo(json.dumps(values, default=str, ensure_ascii=False))
            return
        click.echo(text)
        if then:
            click.echo(click.style(f"next: {then}", dim=True), err=True)
