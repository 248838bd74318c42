"""Parts of a night, which all of its stages use."""

from dataclasses import dataclass
from pathlib import Path

from loop.machine import BY_RULE, Machine
from loop.memory import MEMORY, Memory
from loop.ports import Clock, EventLog, Ledger, Progress, Registry, Store, Validator
from loop.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """Connectors, settings and clock of a night."""

    log: EventLog
    store: Store
    ledger: Ledger
    registry: Registry
    validator: Validator
    settings: Settings
    clock: Clock
    progress: Progress
    memory: Memory = MEMORY
    machine: Machine = BY_RULE

    @property
    def home(self) -> Path:
        return self.settings.addresses.home
