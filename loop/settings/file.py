"""Settings from nightshift.toml and flags, checked and frozen."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import get_args, get_type_hints

from loop.errors import UsageError
from loop.settings import agreement
from loop.settings.environment import Addresses, addresses
from loop.settings.older import Older, translated
from loop.settings.sections import (
    CurationSettings,
    EvaluationSettings,
    GateSettings,
    LogSettings,
    ModelSettings,
    SuiteSettings,
    TrainingSettings,
    ValidationSettings,
)
from loop.types import Json

SETTINGS_FILE = "nightshift.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the loop, by section, and where it runs."""

    model: ModelSettings = field(default_factory=ModelSettings)
    curation: CurationSettings = field(default_factory=CurationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    log: LogSettings = field(default_factory=LogSettings)
    suites: tuple[SuiteSettings, ...] = ()
    addresses: Addresses = field(default_factory=Addresses)
    project: Path = Path()
    """Folder of the settings file, in which the files and modules lie that it names."""
    older: tuple[Older, ...] = ()
    """Keys of an earlier version that were set; nothing is trained or judged before they are today's."""


ELSEWHERE = {
    "addresses": "addresses and secrets come from the environment",
    "project": "it is the folder of the settings file",
    "older": "leave it out: `nightshift init --print` shows every key",
}
"""Fields of `Settings` that no file may set, with their origin."""


def policy(settings: Settings) -> dict[str, Json]:
    """All settings but addresses and secrets, as JSON, with the suites by name; candidates and nights keep them."""
    sections = {name: values for name, values in asdict(settings).items() if name not in {*ELSEWHERE, "suites"}}
    # Left out where there are none, so that a project without suites is stored as it always was.
    if settings.suites:
        sections["suites"] = {
            suite.name: {"role": str(suite.role), "file": suite.file, "scorer": suite.scorer}
            for suite in settings.suites
        }
    # As it is when it comes back from a database: with lists, not tuples.
    plain: dict[str, Json] = json.loads(json.dumps(sections))
    return plain


def load(path: Path | None = None, overrides: Mapping[str, Json] | None = None) -> Settings:
    """Settings from `path`, or from nightshift.toml here when there is one, else the defaults.

    `overrides` maps `section.key`, or `section.table.key`, to a value. Raises UsageError for an unreadable file and for
    unknown or wrong keys.
    """
    sections = _read(path or Path(SETTINGS_FILE), required=path is not None)
    # Put in before the check, so that a flag is held to the same bounds as the file.
    for dotted, value in (overrides or {}).items():
        if dotted.partition(".")[0] == "suites":
            raise UsageError(f"{dotted} cannot be set alone", "write the suite into the settings file, as [[suites]]")
        _put(sections, dotted, value)
    today, older = translated(sections)
    project = path.parent if path else Path()
    return replace(_validate(today), addresses=addresses(), project=project, older=older)


def restored(recorded: Mapping[str, Json], running: Settings) -> Settings:
    """Settings of a stored policy, also of one that an earlier version stored, at the addresses of those `running`.

    Raises UsageError for a damaged policy.
    """
    today, _ = translated(recorded)
    # Suites are stored by name, as nothing else is.
    suites = today.get("suites")
    if isinstance(suites, Mapping):
        today["suites"] = [_named(name, suite) for name, suite in suites.items()]
    return replace(_validate(today), addresses=running.addresses, project=running.project)


def differences(one: Mapping[str, Json], other: Mapping[str, Json]) -> tuple[str, ...]:
    """Dotted keys, in order, under which two policies have different values."""
    ours, theirs = dict(_leaves(one)), dict(_leaves(other))
    return tuple(key for key in sorted(ours | theirs) if ours.get(key) != theirs.get(key))


def at_home(settings: Settings, home: Path) -> Settings:
    """The same settings with another home folder."""
    return replace(settings, addresses=replace(settings.addresses, home=home))


def require_current(settings: Settings) -> None:
    """Raises UsageError for keys of an earlier version, under which something else might be trained than was meant."""
    if settings.older:
        raise UsageError(
            f"settings are those of an earlier version: {told(settings)}",
            f"`nightshift init --migrate` rewrites {SETTINGS_FILE} and keeps the file as it was beside it",
        )


def told(settings: Settings) -> str:
    """Sentence on the keys of an earlier version that were set: where each has gone."""
    return "; ".join(older.said for older in settings.older)


def _named(name: str, suite: Json) -> Json:
    return {"name": name, **suite} if isinstance(suite, Mapping) else suite


def _leaves(tables: Mapping[str, Json], above: str = "") -> Iterator[tuple[str, Json]]:
    for name, value in tables.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _put(sections: dict[str, Json], dotted: str, value: Json) -> None:
    """Set the value of a dotted key. Raises UsageError where the key goes on below something that is no table."""
    *tables, name = dotted.split(".")
    at = sections
    for table in tables:
        inner = at.setdefault(table, {})
        if not isinstance(inner, dict):
            raise UsageError(f"{dotted} is no setting: {table} is no table", "set it in the settings file")
        at = inner
    at[name] = value


def _read(path: Path, *, required: bool) -> dict[str, Json]:
    if not path.exists() and not required:
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))  # without the mark that editors on Windows begin a file with
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot read settings from {path}: {error}",
            "write it in TOML and UTF-8, or name another with --config; `nightshift init --print` shows one",
        ) from error


def _validate(sections: Mapping[str, object]) -> Settings:
    # Here, not above: a training on a bare GPU machine takes its settings without pydantic.
    from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config

    for name, origin in ELSEWHERE.items():
        if name in sections:
            raise UsageError(f"settings have a section [{name}]", origin)
    strict = ConfigDict(extra="forbid")  # a misspelt key must not leave a default in force
    for table in _tables(Settings):
        with_config(strict)(table)
    try:
        checked = TypeAdapter(Settings).validate_python(sections)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UsageError(
            f"settings are wrong: {wrong}", "`nightshift init --print` shows every key with its meaning"
        ) from error
    agreement.require(checked.curation, checked.validation, checked.suites)
    return checked


def _tables(owner: type) -> Iterator[type]:
    """A dataclass and all dataclasses within it, also those in tuples of them."""
    yield owner
    for kind in get_type_hints(owner).values():
        for inner in (kind, *get_args(kind)):
            if is_dataclass(inner) and isinstance(inner, type):
                yield from _tables(inner)
