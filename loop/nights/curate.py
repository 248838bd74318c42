"""Stage 2: all feedback becomes an immutable snapshot."""

import logging
from datetime import datetime

from loop.counts import Count, counted
from loop.curation import snapshot
from loop.nights.parts import Parts
from loop.types import Snapshot

log = logging.getLogger(__name__)


def curate_snapshot(parts: Parts, watermark: int, as_of: datetime) -> Snapshot:
    """An immutable snapshot of all feedback up to the ingestion sequence `watermark`."""
    from loop.curation import curate

    interactions, feedback = parts.store.interactions(watermark), parts.store.feedback(watermark)
    curated = curate(interactions, feedback, parts.settings.curation, as_of)
    judging, needed = counted(curated.report, Count.JUDGING_USERS), parts.settings.gate.min_clusters
    if judging < needed:  # said here, before hours of training that the gate cannot promote
        log.warning(
            "%d held-out users can judge a candidate of this snapshot, and `min_clusters` under [gate] asks for %d: "
            "it can be trained, but not promoted before more users have given feedback",
            judging,
            needed,
        )
    made = snapshot.write(curated.examples, curated.report, parts.settings.curation, as_of, parts.home)
    parts.store.save_snapshot(made)
    return made
