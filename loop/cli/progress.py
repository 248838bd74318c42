"""How far a long stage is: one line rewritten on a terminal, about ten log lines a stage elsewhere."""

import logging
import sys

log = logging.getLogger("nightshift.progress")

ERASE_LINE = "\r\x1b[2K"


def show_progress(stage: str, done: int, of: int, note: str) -> None:
    """See loop.ports.Progress."""
    line = f"{stage} {done}/{of} {note}"
    if sys.stderr.isatty():
        sys.stderr.write(ERASE_LINE + (line if done < of else ""))
        sys.stderr.flush()
    elif done == of or done % max(1, of // 10) == 0:
        log.info("%s", line)
