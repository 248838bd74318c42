"""Stage 2: all feedback becomes an immutable snapshot."""

from datetime import datetime

from loop.curation import snapshot
from loop.nights.parts import Parts
from loop.types import Snapshot


def curate_snapshot(parts: Parts, watermark: int, as_of: datetime) -> Snapshot:
    """All feedback up to `watermark` as an immutable snapshot."""
    from loop.curation import curate

    events = parts.store.interactions(watermark), parts.store.feedback(watermark)
    curated = curate(*events, parts.settings.curation, as_of)
    made = snapshot.write(curated.examples, curated.report, parts.settings.curation, as_of, parts.home)
    parts.store.save_snapshot(made)
    return made
