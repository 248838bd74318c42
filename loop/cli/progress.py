"""How far a long stage is: one line rewritten on a terminal, a log line a minute elsewhere."""

import logging
import sys
import time

log = logging.getLogger("nightshift.progress")
log.setLevel(logging.INFO)

ERASE_LINE = "\r\x1b[2K"
SECONDS_BETWEEN_LINES = 60.0


class ShownProgress:
    """See loop.ports.Progress."""

    def __init__(self) -> None:
        self._told_at = time.monotonic()

    def __call__(self, stage: str, done: int, of: int, note: str) -> None:
        """Show it where standard error goes."""
        line, now = f"{stage} {done}/{of} {note}" if done else f"{stage} {note}", time.monotonic()
        if sys.stderr.isatty():
            sys.stderr.write(ERASE_LINE + (line if done < of else ""))
            sys.stderr.flush()
        elif now - self._told_at >= SECONDS_BETWEEN_LINES:
            log.info("%s", line)
            self._told_at = now
