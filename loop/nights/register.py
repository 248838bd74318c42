"""Stage 5: a candidate becomes a version in the registry."""

from pathlib import Path

from loop import candidates
from loop.nights.parts import Parts
from loop.ports import BASE_MODEL, DTYPE


def register_candidate(parts: Parts, candidate_id: str) -> int:
    """The candidate's version in the registry; the same bytes keep their version.

    Raises IntegrityError when the candidate's adapter was altered, NotFoundError when it is gone.
    """
    candidate = parts.store.candidate(candidate_id)
    base = Path(parts.settings.model.base)
    tags = {
        "snapshot_id": candidate.snapshot_id,
        "parent_version": str(candidate.parent_version),
        # A path of this machine is made absolute: other programs load the version from other folders.
        BASE_MODEL: str(base.absolute() if base.exists() else base),
        DTYPE: parts.settings.model.dtype,
    }
    return parts.registry.register(candidate, candidates.adapter(parts.home, candidate), tags)
