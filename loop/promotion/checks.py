"""Checks before a row of the ledger is written: of the model, the decision, and the adapter's bytes."""

from collections.abc import Sequence
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError, StaleChampionError, UsageError
from loop.ports import RegisteredVersion, Registry
from loop.promotion.champions import BASE, champion, last_move, sha256_of_champion
from loop.types import Decision, Promotion, Verdict


def adapter_of(registry: Registry, version: int) -> str | None:
    """The sha256 that the registry has for a version's adapter; None for the base model. Raises NotFoundError."""
    return None if version == BASE else _registered(registry, version).adapter_sha256


def verified(registry: Registry, entries: Sequence[Promotion], version: int) -> RegisteredVersion:
    """The registered version, after a check that bytes, registry and ledger (if it served before) have one sha256.

    Raises NotFoundError for an unknown version, IntegrityError when any of the three differs.
    """
    found = _registered(registry, version)
    registry.fetch(version)  # compares the bytes with the registry's sha256
    # Files and registry may have been altered together: only the ledger, whose rows are chained, shows that.
    if any(entry.to_version == version and entry.adapter_sha256 != found.adapter_sha256 for entry in entries):
        raise IntegrityError(
            f"the registry's sha256 of version {version} is not the one in the ledger",
            "somebody changed one of the two: roll back to another version with --to, and find out who",
        )
    return found


def fetch(registry: Registry, entries: Sequence[Promotion], version: int, base_fingerprint: str) -> Path:
    """Folder of a version's adapter, checked as by `verified`, for a base model with this fingerprint.

    Raises UsageError when the adapter was trained on another base: on one of the same shape it would answer nonsense.
    """
    require_base(verified(registry, entries, version), base_fingerprint)
    return registry.fetch(version)


def require_base(found: RegisteredVersion, base_fingerprint: str) -> None:
    """Raises UsageError when a version's adapter was trained on a base model with another fingerprint."""
    trained_on = found.base_fingerprint
    if trained_on is not None and trained_on != base_fingerprint:
        raise UsageError(
            f"version {found.version} was trained on another base model ({trained_on[:12]}) than model.base",
            "set model.base back; another base begins anew in another home folder",
        )


def require_model(entries: Sequence[Promotion], model: str) -> None:
    """Raises UsageError when the ledger belongs to another model."""
    if entries and entries[-1].model != model:
        raise UsageError(
            f"this ledger belongs to the model {entries[-1].model}, not to {model}",
            "one ledger keeps one model: correct model.name, or use another home folder",
        )


def require_permission(decision: Decision | None, reason: str) -> None:
    """Raises UsageError unless the gate's decision or a person's reason allows the promotion."""
    if decision is None and not reason.strip():
        raise UsageError("a promotion without a decision needs a reason", "say why with --reason; the ledger keeps it")
    if decision is not None and decision.verdict is not Verdict.PROMOTE:
        raise UsageError(
            f"decision {decision.decision_id} says {decision.verdict}, not PROMOTE",
            "wait for better evidence, or promote on your own word with --force --reason",
        )


def require_candidate(found: RegisteredVersion, decision: Decision) -> None:
    """Raises UsageError unless the version is the judged candidate, IntegrityError unless it has the judged bytes."""
    if found.candidate_id != decision.candidate_id:
        raise UsageError(
            f"the decision is about candidate {decision.candidate_id}, version {found.version} is {found.candidate_id}",
            "promote the version that was judged",
        )
    if found.adapter_sha256 != decision.candidate_sha256:
        raise IntegrityError(
            f"version {found.version} has the sha256 {found.adapter_sha256[:12]}, the adapter that decision "
            f"{decision.decision_id} judged had {decision.candidate_sha256[:12]}",
            "somebody replaced the version's adapter: train and judge anew, and find out who",
        )


def require_fresh(entries: Sequence[Promotion], decision: Decision) -> None:
    """Raises StaleChampionError unless the decision is unused and was made against the champion that serves.

    A decision promotes once: after a rollback its champion serves again, but the night it came from was a bad one.
    Raises IntegrityError when the champion has other bytes than the decision names.
    """
    # Looked for in all rows: a rollback does not take the row away that used it.
    if any(entry.decision_id == decision.decision_id for entry in entries):
        raise StaleChampionError(
            f"decision {decision.decision_id} was used before, and its version no longer serves",
            "evaluate a new candidate, or promote on your own word with --force --reason",
        )
    if champion(entries) != decision.champion_version:  # what beats one champion need not beat the next
        raise overtaken(entries)
    if sha256_of_champion(entries) != decision.champion_sha256:
        raise IntegrityError(
            f"decision {decision.decision_id} compares with other bytes of version {decision.champion_version} than "
            "the ledger says serve",
            f"judge again: nightshift evaluate {decision.candidate_id}",
        )


def overtaken(entries: Sequence[Promotion]) -> StaleChampionError:
    """Error that names the champion of now, and who made it so."""
    moved = last_move(entries)
    who = "by an empty ledger"
    if moved is not None:
        who = f"since {moved.actor}'s {moved.action} at {moved.recorded_at:%Y-%m-%d %H:%M} UTC"
    return StaleChampionError(
        f"the champion is another one: version {champion(entries)} serves {who}",
        "look at who serves now (nightshift status), then decide again; a candidate has to be evaluated against it",
    )


def _registered(registry: Registry, version: int) -> RegisteredVersion:
    for registered in registry.versions():
        if registered.version == version:
            return registered
    raise NotFoundError(f"the registry has no version {version}", "`nightshift history` shows the champions so far")
