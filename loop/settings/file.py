"""Settings from nightshift.toml and flags, checked and frozen."""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import get_type_hints

from loop.errors import UsageError
from loop.settings.environment import Addresses, addresses
from loop.settings.sections import (
    CurationSettings,
    EvaluationSettings,
    GateSettings,
    LogSettings,
    ModelSettings,
    TrainingSettings,
    ValidationSettings,
)
from loop.types import Json

SETTINGS_FILE = "nightshift.toml"


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings of the loop, by section, and the addresses of services."""

    model: ModelSettings = field(default_factory=ModelSettings)
    curation: CurationSettings = field(default_factory=CurationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    log: LogSettings = field(default_factory=LogSettings)
    addresses: Addresses = field(default_factory=Addresses)


def policy(settings: Settings) -> dict[str, Json]:
    """All settings but addresses and secrets, as JSON; a candidate is stored with them."""
    return {section: values for section, values in asdict(settings).items() if section != "addresses"}


def load(path: Path | None = None, overrides: Mapping[str, Json] | None = None) -> Settings:
    """Settings from `path`, or from nightshift.toml here when there is one, else the defaults.

    `overrides` maps `section.key` to a value. Raises UsageError for an unreadable file and for unknown or wrong keys.
    """
    sections = _read(path or Path(SETTINGS_FILE), required=path is not None)
    # Put in before the check, so that a flag is held to the same bounds as the file.
    for dotted, value in (overrides or {}).items():
        section, _, key = dotted.partition(".")
        if isinstance(values := sections.setdefault(section, {}), dict):
            values[key] = value
    return replace(_validate(sections), addresses=addresses())


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

    if "addresses" in sections:
        raise UsageError("settings have a section [addresses]", "addresses and secrets come from the environment")
    strict = ConfigDict(extra="forbid")  # a misspelt key must not leave a default in force
    for section in get_type_hints(Settings).values():
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
    training = settings.training
    if training.shard and training.processes > 1 and training.quantize != "none":
        raise UsageError(
            "settings are wrong: training.shard and training.quantize do not go together in several processes",
            "set one of them, or training.processes = 1: four bits need a quarter of the memory, sharding divides it",
        )
