"""Stage 1: the store is brought up to date with the log."""

from loop.intake.capture import capture
from loop.nights.parts import Parts


def capture_events(parts: Parts) -> int:
    """Bring the store up to date with the log; returns the watermark."""
    capture(parts.log, parts.store, batch_size=parts.settings.log.batch_events)
    return parts.store.watermark()
