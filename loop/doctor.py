"""Checks of a project and its machine: one function for each thing that can be wrong before a night begins."""

import json
import os
import shutil
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loop.app import App, now
from loop.errors import NightshiftError
from loop.results import Finding
from loop.settings import told
from loop.types import Message, Sampling

LIBRARIES = ("mlflow", "kafka-python", "great-expectations", "sqlmodel", "crc32c")
Check = Callable[[App], Finding]
FREE_GIB = 2
CLOCK_SECONDS = 10
"""Largest difference between two clocks, in seconds: less than a third of a lease, the time between two renewals."""


def examine(app: App, *, loading: bool) -> list[Finding]:
    """A finding of each check, in their order; `loading` adds the one that loads the champion, which takes a minute.

    Nothing is raised for what is wrong. The app's progress tells which check runs.
    """
    checks = [*CHECKS, MODEL] if loading else CHECKS
    findings = []
    for number, (name, check) in enumerate(checks, 1):
        # One more than there are checks, because a step that equals the total is the end of the work.
        app.progress("doctor", number, len(checks) + 1, name)
        findings.append(_finding(name, check, app))
    app.progress("doctor", 1, 1, "ended")
    return findings


def settings(app: App) -> Finding:
    """The settings are today's: a night would not begin under keys of an earlier version."""
    if app.settings.older:
        return Finding("settings", False, f"{told(app.settings)}; run `nightshift init --migrate`")
    return Finding("settings", True, "every key is known and within its bounds")


def libraries(_: App) -> Finding:
    """The libraries that intake and decisions need, and crc32c, without which Kafka is ten times slower."""
    missing = [name for name in LIBRARIES if not _version(name)]
    if missing:
        return Finding("libraries", False, f"missing {', '.join(missing)}; install nightshift-loop again")
    return Finding("libraries", True, ", ".join(f"{name} {_version(name)}" for name in LIBRARIES))


def torch(_: App) -> Finding:
    """The libraries that load models are all installed, or none of them on a machine that does the rest of the work."""
    from loop.models.libraries import TORCH, absent

    missing = absent()
    if not missing:
        return Finding("torch", True, ", ".join(f"{name} {_version(name)}" for name in TORCH))
    lacking = f"{' and '.join(missing)} not installed (pip install {' '.join(missing)})"
    # Some without the others is an installation that went wrong; none of them is somebody's choice.
    if len(missing) < len(TORCH):
        return Finding("torch", False, lacking)
    can, cannot = "intake, curation, validation, decisions and rollback", "run, train, evaluate, ask and demo"
    return Finding("torch", True, f"{lacking}: this machine can do {can}, and cannot do {cannot}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def store(app: App) -> Finding:
    """The store answers and its schema is current."""
    counts = app.store.counts()
    return Finding("store", True, ", ".join(f"{count} {table}" for table, count in counts.items()))


def clock(app: App) -> Finding:
    """This machine and the database agree on the time, by which leases end and feedback matures."""
    apart = abs((now() - app.store.clock()).total_seconds())
    if apart < CLOCK_SECONDS:
        return Finding("clock", True, "as the database's")
    return Finding("clock", False, f"{apart:.0f} s from the database's; keep both machines' clocks right with NTP")


def event_log(app: App) -> Finding:
    """The broker answers, its topics can lose nothing, and they are the ones that the store has read."""
    kafka = app.settings.addresses.kafka
    if kafka is None:
        return Finding("event log", True, "embedded in the store")
    from connectors.kafka.topics import faults
    from loop.intake.capture import require_reach

    found = faults(kafka, app.settings.log)
    if found:
        return Finding("event log", False, "; ".join(found))
    # A topic that was made anew ends before the stored position, and its events would never be read.
    for partition, end in app.log.ends().items():
        require_reach(partition, app.store.position(partition), end)
    return Finding("event log", True, f"{app.settings.log.topic} on {', '.join(kafka.servers)}")


def ledger(app: App) -> Finding:
    """Every row of the ledger fits its hash and its predecessor."""
    rows = app.ledger.entries()
    return Finding("ledger", True, f"{len(rows)} rows, hash chain verified")


def registry(app: App) -> Finding:
    """The registry answers, its model is this ledger's and its alias says what the ledger says."""
    from loop.promotion import champion

    # The embedded registry is made by the first verb that writes, and `doctor` only looks.
    if not app.registered:
        return Finding("registry", True, "nothing was registered yet")
    app.registry.require_own()
    serving, alias = champion(app.ledger.entries()), app.registry.alias("champion") or 0
    if serving != alias:
        text = f"the alias says version {alias}, the ledger version {serving}; run `nightshift reconcile`"
        return Finding("registry", False, text)
    return Finding("registry", True, f"{len(app.registry.versions())} versions, champion {serving}")


def champion(app: App) -> Finding:
    """The adapter that serves has the bytes that were promoted, and was trained on the base model of the settings."""
    from loop.promotion import BASE, champion
    from loop.promotion.checks import require_base, verified

    entries = app.ledger.entries()
    serving = champion(entries)
    if serving == BASE:
        return Finding("champion", True, "the base model serves")
    found = verified(app.registry, entries, serving)
    text = f"version {serving}, adapter {found.adapter_sha256[:16]} verified"
    # The fingerprint is only looked up: to take it, all weights of the base model would have to be read.
    fingerprint = _fingerprint(_folder(app))
    if fingerprint is None:
        return Finding("champion", True, f"{text}; not compared with the base model, whose bytes were not read yet")
    require_base(found, fingerprint)
    return Finding("champion", True, text)


def base_model(app: App) -> Finding:
    """The base model is known, or can be had; it is not loaded, converted or fetched for that."""
    from loop.models.folders import source

    folder = _folder(app)
    if folder is not None:
        return Finding("base model", True, f"{folder}: {_described(folder)}")
    base = app.settings.model.base
    file = source(base)
    if file is not None:
        size = f"{file.stat().st_size / 1e6:,.0f} MB"
        return Finding("base model", True, f"{file} ({size}), converted by the first command that needs it")
    if os.environ.get("HF_HUB_OFFLINE", "0") not in {"", "0"}:
        return Finding("base model", False, f"{base} is not here, and HF_HUB_OFFLINE forbids to fetch it")
    return Finding("base model", True, f"{base} is fetched from the hub by the first command that needs it")


def _folder(app: App) -> Path | None:
    from loop.models.folders import known

    return known(app.settings.model.base, *app.settings.addresses.models)


def _fingerprint(folder: Path | None) -> str | None:
    from loop.models.fingerprints import remembered

    return None if folder is None else remembered(folder)


def _described(folder: Path) -> str:
    """Kind, size and fingerprint of a base model, from the files of its folder; no weights are read."""
    config = json.loads((folder / "config.json").read_text())
    # Models that also read images keep the shape of their language model in a part of the file.
    parts = config.get("text_config", config)
    weights = [file.stat().st_size for file in folder.glob("*.safetensors")]
    fingerprint = _fingerprint(folder)
    told = [
        f"{parts.get('model_type', 'unknown kind')}",
        f"{parts.get('num_hidden_layers', '?')} layers of {parts.get('hidden_size', '?')}",
        f"{sum(weights) / 1e6:,.0f} MB of {config.get('dtype') or config.get('torch_dtype') or 'unknown'} weights",
        f"fingerprint {fingerprint[:16] if fingerprint else 'not taken yet'}",
    ]
    return ", ".join(told)


def model(app: App) -> Finding:
    """The champion is loaded and says a token."""
    import resource

    from loop.promotion import champion

    began = time.monotonic()
    entries = app.ledger.entries()
    serving = champion(entries)
    loaded = app.model(entries, serving)
    ready = time.monotonic()
    loaded.generate([[Message("user", "Hello")]], Sampling(max_tokens=1, temperature=0.0))
    seconds = f"loaded in {ready - began:.1f} s, a token in {time.monotonic() - ready:.1f} s"
    # Linux counts ru_maxrss in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 2**30
    name = f"{app.settings.model.name}@{serving}"
    return Finding("model", True, f"{name} on {loaded.device} {seconds}; {peak:.1f} GiB of memory at the most")


def suites(app: App) -> Finding:
    """The suites of the settings can be read, and their scorers score every item."""
    if not app.settings.suites:
        return Finding("suites", True, "none of your own in the settings")
    from evals.suites.own import own_suites

    found = [f"{task.name} ({task.role}, {len(task.items)} items)" for task in own_suites(app.settings)]
    return Finding("suites", True, ", ".join(found))


def disk(app: App) -> Finding:
    """There is room for a night."""
    # `doctor` makes no home: before the first night, the nearest folder above it is on the same disk.
    there = app.home
    if not there.exists():
        there = next(folder for folder in app.home.absolute().parents if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    return Finding("disk", free >= FREE_GIB, f"{free:.0f} GiB free under {app.home} ({FREE_GIB} needed)")


def _finding(name: str, check: Check, app: App) -> Finding:
    # A check that fails is a finding: the checks after it have to be told as well.
    try:
        return check(app)
    except NightshiftError as error:
        return Finding(name, False, f"{error.what}; {error.remedy}")
    except (OSError, ValueError) as error:
        return Finding(name, False, str(error))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("settings", settings),
    ("libraries", libraries),
    ("torch", torch),
    ("store", store),
    ("clock", clock),
    ("event log", event_log),
    ("ledger", ledger),
    ("registry", registry),
    ("champion", champion),
    ("base model", base_model),
    ("suites", suites),
    ("disk", disk),
)
MODEL: tuple[str, Check] = ("model", model)
"""The check that loads the champion: it takes a minute, so it runs only where it is asked for."""
