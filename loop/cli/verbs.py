"""The class of all verbs: each says whether it needs a project, and whether it may make the home folder."""

from enum import Enum
from typing import Any

import click

from loop.cli.session import Session


class Access(Enum):
    """Demands of a verb on the folder it is called in."""

    ANYWHERE = "works without a project and makes no home"
    READS = "needs a project and makes no home, so that it is safe to look"
    WRITES = "needs a project and makes its home where it is absent"


class Verb(click.Command):
    """A command with its access; `click.command(cls=Verb, access=...)` makes one."""

    def __init__(self, name: str | None, *, access: Access, **attributes: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(name, **attributes)
        self.access = access

    def invoke(self, context: click.Context) -> object:
        """Run the verb. Raises UsageError in a folder that is no project, where the verb needs one."""
        session = context.find_object(Session)
        if session is not None:
            # Before the verb opens a port: each is opened once, with what is allowed at that time.
            session.app.may_make_home = self.access is Access.WRITES
            if self.access is not Access.ANYWHERE:
                session.app.require_project()
        return super().invoke(context)
