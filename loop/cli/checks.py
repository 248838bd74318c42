"""What `doctor` looks at: one function per thing that can be wrong before a night begins."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from loop.cli.session import Session, now
from loop.errors import NightshiftError

LIBRARIES = ("torch", "transformers", "peft", "mlflow", "kafka-python", "great-expectations", "sqlmodel", "crc32c")
FREE_GIB = 2
CLOCK_SECONDS = 10
"""Less than a third of a lease, between two renewals."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`."""

    name: str
    ok: bool
    text: str


def libraries(_: Session) -> Finding:
    """The seven libraries and crc32c, without which Kafka is ten times slower."""
    missing = [name for name in LIBRARIES if not _version(name)]
    if missing:
        return Finding("libraries", False, f"missing {', '.join(missing)}; install nightshift-loop again")
    return Finding("libraries", True, ", ".join(f"{name} {_version(name)}" for name in LIBRARIES))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def store(session: Session) -> Finding:
    """The store answers and its schema is current."""
    counts = session.store.counts()
    return Finding("store", True, ", ".join(f"{count} {table}" for table, count in counts.items()))


def clock(session: Session) -> Finding:
    """This machine and the database agree on the time, by which leases end and feedback matures."""
    apart = abs((now() - session.store.clock()).total_seconds())
    if apart < CLOCK_SECONDS:
        return Finding("clock", True, "as the database's")
    return Finding("clock", False, f"{apart:.0f} s from the database's; keep both machines' clocks right with NTP")


def event_log(session: Session) -> Finding:
    """The broker answers, its topics can lose nothing and are those that were stored."""
    kafka = session.settings.addresses.kafka
    if kafka is None:
        return Finding("event log", True, "embedded in the store")
    from connectors.kafka_topics import faults
    from loop.capture import require_reach

    found = faults(kafka, session.settings.log)
    if found:
        return Finding("event log", False, "; ".join(found))
    for partition, end in session.log.ends().items():
        require_reach(partition, session.store.position(partition), end)
    return Finding("event log", True, f"{session.settings.log.topic} on {', '.join(kafka.servers)}")


def ledger(session: Session) -> Finding:
    """Every row of the ledger fits its hash and its predecessor."""
    rows = session.ledger.entries()
    return Finding("ledger", True, f"{len(rows)} rows, hash chain verified")


def registry(session: Session) -> Finding:
    """The registry answers and its alias says what the ledger says."""
    from loop.promote import champion

    if not session.registered:
        return Finding("registry", True, "nothing was registered yet")
    serving, alias = champion(session.ledger.entries()), session.registry.alias("champion") or 0
    if serving != alias:
        text = f"the alias says version {alias}, the ledger version {serving}; run `nightshift reconcile`"
        return Finding("registry", False, text)
    return Finding("registry", True, f"{len(session.registry.versions())} versions, champion {serving}")


def champion(session: Session) -> Finding:
    """The adapter that serves has the bytes that were promoted, and was trained on the base model of the settings."""
    from loop.models import find, fingerprint
    from loop.promote import BASE, champion
    from loop.promote.checks import require_base, verified

    entries = session.ledger.entries()
    if (serving := champion(entries)) == BASE:
        return Finding("champion", True, "the base model serves")
    found = verified(session.registry, entries, serving)
    require_base(found, fingerprint(find(session.settings.model.base, session.home / "models")))
    return Finding("champion", True, f"version {serving}, adapter {found.adapter_sha256[:16]} verified")


def base_model(session: Session) -> Finding:
    """The base model is on disk, or can be brought there."""
    from loop.models import find

    return Finding("base model", True, str(find(session.settings.model.base, session.home / "models")))


def disk(session: Session) -> Finding:
    """There is room for a night."""
    there = next(folder for folder in (session.home, *session.home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    return Finding("disk", free >= FREE_GIB, f"{free:.0f} GiB free under {session.home} ({FREE_GIB} needed)")


def _guarded(name: str, check: Callable[[Session], Finding]) -> tuple[str, Callable[[Session], Finding]]:
    def finding(session: Session) -> Finding:
        try:
            return check(session)
        except NightshiftError as error:
            return Finding(name, False, f"{error.what}; {error.remedy}")
        except OSError as error:
            return Finding(name, False, str(error))

    return name, finding


CHECKS = tuple(
    _guarded(check.__name__.replace("_", " "), check)
    for check in (libraries, store, clock, event_log, ledger, registry, champion, base_model, disk)
)
