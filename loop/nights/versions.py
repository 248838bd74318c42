"""Versions as models that answer: the one that serves, and loading one with its recorded bytes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loop import promotion
from loop.errors import NotFoundError
from loop.machine import BY_RULE, Machine
from loop.models import find, fingerprint, require_torch
from loop.nights.parts import Parts
from loop.ports import EventStore, Registry
from loop.settings import Settings
from loop.types import Candidate, Promotion, Sampling

if TYPE_CHECKING:
    from loop.models import LanguageModel

RECENT = 100
"""Number of newest interactions whose sampling is looked at; the one that most of them have is production's."""


def serving_version(parts: Parts) -> int:
    """The version that the ledger says serves; 0 is the base model."""
    return promotion.champion(parts.ledger.entries())


def load_version(
    settings: Settings,
    registry: Registry,
    entries: Sequence[Promotion],
    version: int,
    machine: Machine = BY_RULE,
) -> "LanguageModel":
    """A registered version (0: the base model), ready to answer.

    Its adapter has the bytes that the registry and the ledger's `entries` recorded, and was trained on this base model.
    """
    require_torch()
    return load_adapter(settings, adapter_folder(settings, registry, entries, version), machine)


def usual_sampling(store: EventStore) -> Sampling | None:
    """Sampling of most of the newest interactions, without their seeds; None where none of them has one."""
    recent = [each.sampling for each in store.newest_interactions(RECENT)]
    # Each request has a seed of its own, which would make every sampling unlike the others.
    counted = Counter(replace(each, seed=None) for each in recent if each)
    return counted.most_common(1)[0][0] if counted else None


def version_of(registry: Registry, candidate: Candidate) -> int:
    """The registered version of a candidate, by the bytes of its adapter. Raises NotFoundError when there is none."""
    for registered in registry.versions():
        if registered.adapter_sha256 == candidate.adapter_sha256:
            return registered.version
    raise NotFoundError(
        f"candidate {candidate.candidate_id} is not registered", f"nightshift register {candidate.candidate_id}"
    )


def adapter_folder(settings: Settings, registry: Registry, entries: Sequence[Promotion], version: int) -> Path | None:
    """Folder of a version's adapter, verified and for this base model; None for the base model."""
    if version == promotion.BASE:
        return None
    return promotion.fetch(registry, entries, version, fingerprint(base_folder(settings)))


def load_adapter(settings: Settings, adapter: Path | None, machine: Machine = BY_RULE) -> "LanguageModel":
    """The base model with the adapter of a folder, or alone."""
    from loop.models import load

    return load(base_folder(settings), dtype=settings.model.dtype, adapter=adapter, batch=machine.batch_prompts)


def base_folder(settings: Settings) -> Path:
    """Folder of the base model that the settings name."""
    return find(settings.model.base, *settings.addresses.models)
