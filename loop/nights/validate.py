"""Stage 3: the expectation suite looks at a snapshot before anything is trained on it."""

from loop.curation import snapshot
from loop.home import docs_folder, snapshot_folder
from loop.nights.parts import Parts
from loop.types import Validation


def validate_snapshot(parts: Parts, snapshot_id: str) -> Validation:
    """Validate a snapshot by the expectation suite, whose Data Docs are written below the home."""
    curation = parts.store.snapshot(snapshot_id).curation
    snapshot.verify(parts.home, snapshot_id)  # what the suite passes has to be what the manifest names
    folder = snapshot_folder(parts.home, snapshot_id)
    return parts.validator(folder, parts.settings.validation, curation, docs_folder(parts.home, snapshot_id))
