"""Stage 1: the events of the log are captured into the store."""

from loop.intake.capture import capture
from loop.nights.parts import Parts


def capture_events(parts: Parts) -> int:
    """Bring the store up to date with the log; returns its watermark, the ingestion sequence of the newest row."""
    capture(parts.log, parts.store, batch_size=parts.machine.batch_events)
    return parts.store.watermark()
