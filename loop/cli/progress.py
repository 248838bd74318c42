"""How far long work is: one line rewritten on a terminal, a log line a minute elsewhere."""

import logging
import sys
import time
from threading import Thread

log = logging.getLogger("nightshift.progress")
log.setLevel(logging.INFO)

ERASE_LINE = "\r\x1b[2K"
SECONDS_BETWEEN_LINES = 60.0


class ShownProgress:
    """See loop.ports.Progress. What was said last is said again while work goes on without a word."""

    def __init__(self) -> None:
        self._line, self._since = "", 0.0
        Thread(target=self._remind, daemon=True).start()

    def __call__(self, stage: str, done: int, of: int, note: str) -> None:
        """Show it where standard error goes."""
        line = f"{stage} {done}/{of} {note}" if of > 1 else f"{stage} {note}"
        self._line, self._since = line if done < of else "", time.monotonic()
        _rewrite(self._line)

    def _remind(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LINES)
            line, silent = self._line, time.monotonic() - self._since
            if line and silent >= SECONDS_BETWEEN_LINES:
                line += f"  ({silent / 60:.0f} min ago)"
                _rewrite(line)
            if line and not sys.stderr.isatty():
                log.info("%s", line)


def _rewrite(line: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(ERASE_LINE + line)
        sys.stderr.flush()
