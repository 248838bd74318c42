"""The class of all verbs: each says whether it needs a project, may make the home folder, and trains or judges."""

import logging
from enum import Enum
from typing import Any

import click

from loop.cli.session import Session
from loop.settings import require_current, told

_LOG = logging.getLogger(__name__)


class Access(Enum):
    """Demands of a verb on the folder it is called in."""

    ANYWHERE = "works without a project and makes no home"
    READS = "needs a project and makes no home, so that it is safe to look"
    WRITES = "needs a project and makes its home where it is absent"
    NIGHT = "trains or judges: as WRITES, and under today's settings alone"


class Verb(click.Command):
    """A command with its access; `click.command(cls=Verb, access=...)` makes one."""

    def __init__(self, name: str | None, *, access: Access, **attributes: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(name, **attributes)
        self.access = access

    def invoke(self, context: click.Context) -> object:
        """Run the verb.

        Raises UsageError in a folder that is no project, where the verb needs one, and for settings of an earlier
        version, where the verb trains or judges; the others say so and go on: a rollback at night has to work.
        """
        session = context.find_object(Session)
        if session is not None:
            # Before the verb opens a port: each is opened once, with what is allowed at that time.
            session.app.may_make_home = self.access in {Access.WRITES, Access.NIGHT}
            if self.access is not Access.ANYWHERE:
                session.app.require_project()
                _look_at_settings(session, strict=self.access is Access.NIGHT)
        return super().invoke(context)


def _look_at_settings(session: Session, *, strict: bool) -> None:
    if strict:
        require_current(session.app.settings)
    elif session.app.settings.older:
        _LOG.warning(
            "no night runs under settings of an earlier version (nightshift init --migrate): %s",
            told(session.app.settings),
        )
