"""What every verb gets: the settings, how to print, and the connectors wired on first use."""

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import click

from loop.errors import NotFoundError, UsageError
from loop.home import DOWNLOADS, LEDGER, REGISTRY, STORE, USER_KEY
from loop.imports import collector_off
from loop.settings import SETTINGS_FILE, Settings

if TYPE_CHECKING:
    from loop.nights.parts import Parts
    from loop.ports import EventLog, Ledger, Registry, Store

SQLITE, IN_MEMORY = "sqlite:///", "sqlite://"


@dataclass
class Session:
    """One invocation of the command."""

    settings: Settings
    as_json: bool = False
    configured: bool = True
    """A settings file was read, from this folder or as --config names it."""
    may_make_home: bool = True
    """False in a verb that only reads: a database that is absent is then an empty one in memory."""

    @property
    def home(self) -> Path:
        return self.settings.addresses.home

    def require_project(self) -> None:
        """UsageError where nothing says that this folder is a project: settings, a ledger, an address of a service."""
        ledger = self.home / LEDGER
        if self.configured or self.settings.addresses.shared or ledger.exists():
            return
        raise UsageError(
            f"{Path.cwd()} is no project: there is neither {SETTINGS_FILE} nor {ledger}",
            "cd to the project's folder, name its settings with --config FILE, or begin one here: nightshift init",
        )

    def close(self) -> None:
        """Leave the logs that were opened: a member that just ended would keep its partitions from the others."""
        for name in ("log", "letters"):
            if opened := self.__dict__.get(name):
                opened.close()

    def show(self, text: str, values: Mapping[str, object], *, then: str = "") -> None:
        """Print `text` for people and what they may do `then`, or `values` as one JSON object with --json.

        The next step goes to standard error, so that `$(nightshift curate)` is an id and nothing else.
        """
        if self.as_json:
            click.echo(json.dumps(values, default=str, ensure_ascii=False))
            return
        click.echo(text)
        if then:
            click.echo(click.style(f"next: {then}", dim=True), err=True)

    @cached_property
    def ledger(self) -> "Ledger":
        """The ledger alone, so that a rollback needs neither the store nor the log; UsageError for another model's."""
        with collector_off():
            from connectors.sql.ledger import SqlLedger
        from loop.promotion.checks import require_model

        opened = SqlLedger(self._database(self.settings.addresses.ledger_url, LEDGER))
        require_model(opened.entries(), self.settings.model.name)
        return opened

    @property
    def registered(self) -> bool:
        """Whether there is a registry to look into; the embedded one is made by the first verb that writes."""
        return bool(self.settings.addresses.mlflow_uri) or (self.home / REGISTRY).exists()

    @cached_property
    def registry(self) -> "Registry":
        """Raises NotFoundError in a verb that only reads, before anything was registered."""
        if not (self.registered or self.may_make_home):
            raise NotFoundError(f"no version is registered: {self.home / REGISTRY} is absent", "nightshift run")
        from connectors.mlflow.registry import MlflowRegistry

        uri = self.settings.addresses.mlflow_uri or self._sqlite(REGISTRY)
        return MlflowRegistry(uri, self.settings.model.name, self.home / DOWNLOADS, self.ledger)

    @cached_property
    def store(self) -> "Store":
        with collector_off():
            from connectors.sql.store import SqlStore

        return SqlStore(self._store_url)

    @cached_property
    def log(self) -> "EventLog":
        if kafka := self.settings.addresses.kafka:
            from connectors.kafka.log import KafkaLog

            return KafkaLog(kafka, self.settings.log)
        from connectors.sql.log import TableLog

        return TableLog(self._store_url)

    @cached_property
    def letters(self) -> "EventLog | None":
        """Where a copy of every dead letter goes; None for the embedded log, whose table is enough."""
        if kafka := self.settings.addresses.kafka:
            from connectors.kafka.log import KafkaLog
            from connectors.kafka.topics import DEAD_LETTERS

            return KafkaLog(kafka, self.settings.log, topic=self.settings.log.topic + DEAD_LETTERS)
        return None

    @cached_property
    def parts(self) -> "Parts":
        """Everything a night works with."""
        from connectors.expectations import validate
        from loop.cli.progress import ShownProgress
        from loop.nights.parts import Parts

        return Parts(
            log=self.log,
            store=self.store,
            ledger=self.ledger,
            registry=self.registry,
            validator=validate,
            settings=self.settings,
            clock=now,
            progress=ShownProgress(),
        )

    @cached_property
    def user_secret(self) -> str:
        """The key of user pseudonyms: NIGHTSHIFT_USER_SECRET, or one made once under the home folder."""
        if self.settings.addresses.user_secret:
            return self.settings.addresses.user_secret
        path = self._made_home() / USER_KEY
        if not path.exists():
            _write_once(path, secrets.token_hex(32))
        try:
            return path.read_text("ascii")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is damaged", "restore it: with another key users get other pseudonyms") from error

    @property
    def _store_url(self) -> str:
        return self._database(self.settings.addresses.store_url, STORE)

    def _database(self, address: str | None, name: str) -> str:
        """The address, or that of a file below the home; in a verb that only reads, an absent file is empty memory."""
        file = Path(address.removeprefix(SQLITE).partition("?")[0]) if address else self.home / name
        if not self.may_make_home and (not address or address.startswith(SQLITE)) and not file.exists():
            return IN_MEMORY
        return address or self._sqlite(name)

    def _sqlite(self, name: str) -> str:
        return f"{SQLITE}{(self._made_home() / name).absolute()}"

    def _made_home(self) -> Path:
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"the home folder {self.home} cannot be made: {error.strerror}",
                "set NIGHTSHIFT_HOME to a folder that can be written",
            ) from error
        return self.home


def _write_once(path: Path, text: str) -> None:
    """Whole or not at all, readable by its owner alone; of two processes the first one's text stays."""
    with NamedTemporaryFile("w", dir=path.parent) as fresh:
        fresh.write(text)
        fresh.flush()
        with suppress(FileExistsError):
            os.link(fresh.name, path)


def now() -> datetime:
    """The clock of everything but tests and simulations."""
    return datetime.now(UTC)
