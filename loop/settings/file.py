"""Settings from nightshift.toml and flags, checked and frozen."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import assert_never, get_type_hints

from loop.errors import UsageError
from loop.settings.environment import Addresses, addresses
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
from loop.types import Json, SuiteRole

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


ELSEWHERE = {
    "addresses": "addresses and secrets come from the environment",
    "project": "it is the folder of the settings file",
}
"""Fields of `Settings` that no file may set, with their origin."""


def policy(settings: Settings) -> dict[str, Json]:
    """All settings but addresses and secrets, as JSON, with the suites by name; a candidate is stored with them."""
    sections = {name: values for name, values in asdict(settings).items() if name not in {*ELSEWHERE, "suites"}}
    # Left out where there are none, so that a project without suites is stored as it always was.
    if settings.suites:
        sections["suites"] = {
            suite.name: {"role": str(suite.role), "file": suite.file, "scorer": suite.scorer}
            for suite in settings.suites
        }
    return sections


def load(path: Path | None = None, overrides: Mapping[str, Json] | None = None) -> Settings:
    """Settings from `path`, or from nightshift.toml here when there is one, else the defaults.

    `overrides` maps `section.key` to a value. Raises UsageError for an unreadable file and for unknown or wrong keys.
    """
    sections = _read(path or Path(SETTINGS_FILE), required=path is not None)
    # Put in before the check, so that a flag is held to the same bounds as the file.
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        if section == "suites":
            raise UsageError(f"{dotted} cannot be set alone", "write the suite into the settings file, as [[suites]]")
        if isinstance(values := sections.setdefault(section, {}), dict):
            values[key] = value
    project = path.parent if path else Path()
    return replace(_validate(sections), addresses=addresses(), project=project)


def at_home(settings: Settings, home: Path) -> Settings:
    """The same settings with another home folder."""
    return replace(settings, addresses=replace(settings.addresses, home=home))


def _read(path: Path, *, required: bool) -> dict[str, dict[str, Json]]:
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
    for section in (SuiteSettings, *get_type_hints(Settings).values()):
        if isinstance(section, type) and is_dataclass(section):
            with_config(strict)(section)
    try:
        checked = TypeAdapter(with_config(strict)(Settings)).validate_python(sections)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise UsageError(
            f"settings are wrong: {wrong}", "`nightshift init --print` shows every key with its meaning"
        ) from error
    _require_agreement(checked)
    return checked


def _require_agreement(settings: Settings) -> None:
    """Raises UsageError for settings that are each within bounds but do not go together."""
    if settings.curation.dev_share + settings.curation.vault_share >= 1:
        raise UsageError(
            "settings are wrong: curation.dev_share and curation.vault_share leave no user to train on",
            "lower one of them: together they have to stay below 1",
        )
    _require_suites(settings.suites)
    training = settings.training
    if training.shard and training.processes > 1 and training.quantize != "none":
        raise UsageError(
            "settings are wrong: training.shard and training.quantize do not go together in several processes",
            "set one of them, or training.processes = 1: four bits need a quarter of the memory, sharding divides it",
        )


def _require_suites(suites: Sequence[SuiteSettings]) -> None:
    """Raises UsageError for two suites of one name, and for one that is to show a gain."""
    names = [suite.name for suite in suites]
    for suite in suites:
        if names.count(suite.name) > 1:
            raise UsageError(f"settings are wrong: two suites are called {suite.name}", "give each a name of its own")
        match suite.role:
            case SuiteRole.GUARD | SuiteRole.REPORT:
                pass
            case SuiteRole.SUPERIORITY:
                raise UsageError(
                    f"settings are wrong: suite {suite.name} has the role superiority, and a fixed file cannot show "
                    "that a candidate is better: its items would be evidence again every night, until one passes by "
                    "luck",
                    'use role = "guard", which blocks a loss, or role = "report", which is only read',
                )
            case _:
                assert_never(suite.role)
