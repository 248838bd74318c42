"""The migrations of the tables, one history per database (store, ledger); `database` applies them when it opens one."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection

from loop.errors import UsageError

HERE = Path(__file__).parent


def upgrade(connection: Connection, history: str) -> None:
    """Bring the tables of `history` to the newest version inside the connection's transaction.

    Raises UsageError when a newer Nightshift made them.
    """
    try:
        command.upgrade(config(connection, history), "head")
    except CommandError as error:
        raise UsageError(
            f"the {history} database was made by a newer version: {error}",
            "upgrade nightshift, or name another database",
        ) from error


def config(connection: Connection, history: str) -> Config:
    """Alembic's view of one history on one connection."""
    settings = Config(attributes={"connection": connection, "history": history})
    # By default Alembic splits paths at spaces and commas, and warns that it does.
    settings.set_main_option("path_separator", "newline")
    settings.set_main_option("script_location", _escaped(HERE))
    settings.set_main_option("version_locations", _escaped(HERE / "versions" / history))
    return settings


def _escaped(path: Path) -> str:
    # Options pass through ConfigParser, which takes a percent sign for the start of an interpolation.
    return str(path).replace("%", "%%")
