"""Connectors made from the settings: each is imported and opened on first use."""

import os
import secrets
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from loop.errors import NotFoundError, UsageError
from loop.files import write_first
from loop.home import DOWNLOADS, LEDGER, REGISTRY, STORE, USER_KEY
from loop.imports import collector_off
from loop.machine import BY_RULE, Machine
from loop.memory import MEMORY, Memory
from loop.ports.work import silent
from loop.settings import SETTINGS_FILE, Settings, require_current
from loop.types import Promotion

if TYPE_CHECKING:
    from loop.models import LanguageModel
    from loop.nights.parts import Parts
    from loop.ports import EventLog, Ledger, Progress, Registry, Store

SQLITE, IN_MEMORY = "sqlite:///", "sqlite://"
Port = TypeVar("Port")

_inherited: list[object] = []
"""Connectors that a forked child has from its parent: kept, because closing them would end the parent's, too."""


def now() -> datetime:
    """The time in UTC: the clock of everything but tests and simulations."""
    return datetime.now(UTC)


class App:
    """Connectors of one project. Threads may share it; a forked child opens its own connections."""

    def __init__(
        self,
        settings: Settings,
        *,
        configured: bool = True,
        may_make_home: bool = True,
        progress: "Progress" = silent,
        memory: Memory = MEMORY,
        machine: Machine = BY_RULE,
        ports: Mapping[str, object] | None = None,
    ) -> None:
        self.settings = settings
        self.configured = configured
        """Whether a settings file was read."""
        self.may_make_home = may_make_home
        """False for commands that only read: an absent database is then an empty one in memory."""
        self.progress = progress
        self.memory = memory
        self.machine = machine
        self._opened: dict[str, object] = dict(ports or {})
        """Connectors by name (store, ledger, registry, log, letters); `ports` are some that were opened elsewhere."""
        self._lock = threading.RLock()  # re-entrant: the registry opens the ledger while it is opened itself
        itself = weakref.ref(self)  # a fork's callbacks are kept for ever, and would keep every App alive
        os.register_at_fork(after_in_child=lambda: _leave_to_the_parent(itself()))

    @property
    def home(self) -> Path:
        """The home folder."""
        return self.settings.addresses.home

    @property
    def is_project(self) -> bool:
        """Whether settings, a ledger or the address of a service make this folder a project."""
        return bool(self.configured or self.settings.addresses.shared or (self.home / LEDGER).exists())

    def require_project(self) -> None:
        """Raises UsageError unless this folder is a project."""
        if self.is_project:
            return
        raise UsageError(
            f"{Path.cwd()} is no project: there is neither {SETTINGS_FILE} nor {self.home / LEDGER}",
            "cd to the project's folder, name its settings with --config FILE, or begin one here: nightshift init",
        )

    def close(self) -> None:
        """Close the opened logs: a group member that ends without leaving keeps its partitions from the others."""
        # Taken out, so that a later use opens them again.
        for name in ("log", "letters"):
            if opened := cast("EventLog | None", self._opened.pop(name, None)):
                opened.close()

    @property
    def store(self) -> "Store":
        """The store of events and of everything that nights make."""

        def opened() -> "Store":
            with collector_off():
                from connectors.sql.store import SqlStore

            return SqlStore(self._store_url)

        return self._once("store", opened)

    @property
    def ledger(self) -> "Ledger":
        """The ledger of champions. Raises UsageError for the ledger of another model."""

        def opened() -> "Ledger":
            with collector_off():
                from connectors.sql.ledger import SqlLedger
            from loop.promotion.checks import require_model

            # A database of its own, so that a rollback needs neither the store nor the log.
            found = SqlLedger(self._database(self.settings.addresses.ledger_url, LEDGER))
            require_model(found.entries(), self.settings.model.name)
            return found

        return self._once("ledger", opened)

    @property
    def registered(self) -> bool:
        """Whether there is a registry to read; the first command that writes makes the embedded one."""
        named = bool(self.settings.addresses.mlflow_uri)
        return named or "registry" in self._opened or (self.home / REGISTRY).exists()

    @property
    def registry(self) -> "Registry":
        """The registry of versions. Raises NotFoundError for commands that only read, while nothing is registered."""

        def opened() -> "Registry":
            if not (self.registered or self.may_make_home):
                raise NotFoundError(f"no version is registered: {self.home / REGISTRY} is absent", "nightshift run")
            from connectors.mlflow.registry import MlflowRegistry

            uri = self.settings.addresses.mlflow_uri or self._sqlite(REGISTRY)
            return MlflowRegistry(uri, self.settings.model.name, self.home / DOWNLOADS, self.ledger)

        return self._once("registry", opened)

    def model(self, entries: Sequence[Promotion], version: int) -> "LanguageModel":
        """A version (0: the base model) ready to answer, once its bytes are those that registry and `entries` recorded.

        `entries` are the ledger's rows: who asks for the champion has read them, and each reading verifies the chain.
        """
        from loop.nights.versions import load_adapter, load_version

        if not version:  # the base model needs no registry: it answers before anything was registered
            return load_adapter(self.settings, None, self.machine)
        return load_version(self.settings, self.registry, entries, version, self.machine)

    @property
    def log(self) -> "EventLog":
        """The event log: on Kafka where the environment names a broker, else a table in the store's database."""

        def opened() -> "EventLog":
            if kafka := self.settings.addresses.kafka:
                from connectors.kafka.log import KafkaLog

                return KafkaLog(kafka, self.settings.log)
            from connectors.sql.log import TableLog

            return TableLog(self._store_url)

        return self._once("log", opened)

    @property
    def letters(self) -> "EventLog | None":
        """The log that gets a copy of every dead letter; None beside the embedded log, where the table is enough."""
        kafka = self.settings.addresses.kafka
        if kafka is None:
            return None
        access = kafka

        def opened() -> "EventLog":
            from connectors.kafka.log import KafkaLog
            from connectors.kafka.topics import DEAD_LETTERS

            return KafkaLog(access, self.settings.log, topic=self.settings.log.topic + DEAD_LETTERS)

        return self._once("letters", opened)

    @property
    def user_secret(self) -> str:
        """Key of the users' pseudonyms: NIGHTSHIFT_USER_SECRET, or one that is made once under the home folder."""
        if self.settings.addresses.user_secret:
            return self.settings.addresses.user_secret
        path = self._made_home() / USER_KEY
        if not path.exists():
            write_first(path, secrets.token_hex(32))
        # Read back, because another process may have written its key first.
        try:
            return path.read_text("ascii")
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is damaged", "restore it: with another key users get other pseudonyms") from error

    @property
    def parts(self) -> "Parts":
        """Everything that the stages of a night work with, opened. Raises UsageError for keys of an earlier version."""
        require_current(self.settings)
        from connectors.expectations import validate
        from loop.nights.parts import Parts

        return Parts(
            log=self.log,
            store=self.store,
            ledger=self.ledger,
            registry=self.registry,
            validator=validate,
            settings=self.settings,
            clock=now,
            progress=self.progress,
            memory=self.memory,
            machine=self.machine,
        )

    def _once(self, name: str, opened: Callable[[], Port]) -> Port:
        """The connector of this name, opened on first use."""
        with self._lock:  # two threads that ask at once must not open two
            if name not in self._opened:
                self._opened[name] = opened()
            return cast("Port", self._opened[name])

    @property
    def _store_url(self) -> str:
        return self._database(self.settings.addresses.store_url, STORE)

    def _database(self, address: str | None, name: str) -> str:
        """The address, else that of a file in the home folder; an absent file is an empty database for readers."""
        # An address may name a SQLite file, too; what follows a question mark are its options.
        file = Path(address.removeprefix(SQLITE).partition("?")[0]) if address else self.home / name
        if not self.may_make_home and (not address or address.startswith(SQLITE)) and not file.exists():
            return IN_MEMORY
        return address or self._sqlite(name)

    def _sqlite(self, name: str) -> str:
        # Absolute, so that a program that changes its folder does not come to another file.
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


def _leave_to_the_parent(app: App | None) -> None:
    """Give a forked child its own connectors and lock: the old ones are the parent's, whose threads may hold them."""
    if app is not None:
        _inherited.append(app._opened)  # noqa: SLF001 - this module's own
        app._opened, app._lock = {}, threading.RLock()  # noqa: SLF001
