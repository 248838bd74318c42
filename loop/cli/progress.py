"""Progress of long work: on a terminal one line, rewritten, with the seconds left; elsewhere a log line a minute."""

import logging
import shutil
import sys
import time
from collections.abc import Callable
from threading import Lock, Thread
from typing import TextIO

log = logging.getLogger("nightshift.progress")
# A level of its own: `main` holds the loggers above it to warnings, and a line a minute comes without --verbose too.
log.setLevel(logging.INFO)

ERASE_LINE = "\r\x1b[2K"
SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_LOOKS = 0.25
BEGINS = "begins"
"""Note of a stage that has only begun; it is not drawn, since the line moves already."""
BAR = 20
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
EIGHTHS = " ▏▎▍▌▋▊▉"


class ShownProgress:
    """See loop.ports.Progress. The last report is shown, with the time, until one says that the work has ended.

    `screen` is standard error. Between two reports the last one is shown again every `pause` seconds, by default as
    often as suits a terminal or a log; `clock` tells seconds.
    """

    def __init__(
        self, screen: TextIO | None = None, *, pause: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.title = ""
        """Title of the work as a whole, in front of every line."""
        self._last: tuple[str, int, int, str] | None = None
        self._began = self._heard = 0.0
        self._first = 0
        # The thread that works reports, and the reminding thread draws in between.
        self._lock = Lock()
        self._screen = screen or sys.stderr
        self._watched = self._screen.isatty()
        self._pause = pause or (SECONDS_BETWEEN_LOOKS if self._watched else SECONDS_BETWEEN_LINES)
        self._clock = clock
        # A daemon, so that it never keeps the command from ending.
        Thread(target=self._remind, daemon=True).start()

    def __call__(self, stage: str, done: int, of: int, note: str) -> None:
        """Draw the report on a terminal; elsewhere keep it for the next line of the log."""
        with self._lock:
            now, before = self._clock(), self._last
            # Another stage, or another total, has a pace of its own, and resumed work does not begin at 0.
            if before is None or (before[0], before[2]) != (stage, of):
                self._began, self._first = now, done
            self._heard = now
            self._last = (stage, done, of, note) if done < of else None
            if self._watched:
                self._rewrite()

    def _remind(self) -> None:
        while True:
            time.sleep(self._pause)
            with self._lock:
                if self._watched and self._last:
                    self._rewrite()
                elif self._last:
                    # The age of a report tells a step that takes long from work that goes on.
                    silent = self._clock() - self._heard
                    ago = f"  ({silent / 60:.0f} min ago)" if silent >= self._pause else ""
                    log.info("%s%s", self._plain(), ago)

    def _plain(self) -> str:
        """The last report in words."""
        stage, done, of, note = self._last or ("", 0, 0, "")
        parts = [self.title, stage]
        if of > 1:
            parts += [f"{done}/{of}", note]
            parts += self._left(done, of)
        else:
            parts.append(note)
        return " ".join(filter(None, parts))

    def _rewrite(self) -> None:
        self._screen.write(ERASE_LINE + self._drawn())
        self._screen.flush()

    def _drawn(self) -> str:
        """The line to draw now, narrower than the terminal; empty where the work has ended."""
        if self._last is None:
            return ""
        stage, done, of, note = self._last
        seconds = self._clock() - self._began
        what = f"{self.title} {stage:<9}".lstrip()
        if of > 1:
            parts = [what, bar(done / of), f"{done}/{of}", note]
            parts += self._left(done, of)
        else:
            turning = SPINNER[int(seconds / SECONDS_BETWEEN_LOOKS) % len(SPINNER)]
            parts = [what, turning, "" if note == BEGINS else note, f"{seconds:.0f} s"]
        # A line that fills the last column may be wrapped, and could not be erased as one line then.
        return "  ".join(filter(None, parts))[: shutil.get_terminal_size().columns - 1]

    def _left(self, done: int, of: int) -> list[str]:
        """Seconds left at the pace so far, as one part of the line; no part before there is a pace."""
        if done <= self._first:
            return []
        pace = (self._heard - self._began) / (done - self._first)
        # Less the time since the last report, so that the seconds also count down between two reports.
        left = pace * (of - done) - (self._clock() - self._heard)
        return [f"{max(left, 0):.0f} s left"]


def bar(share: float) -> str:
    """A bar of `share`, drawn in eighths of a character."""
    eighths = round(8 * BAR * min(max(share, 0.0), 1.0))
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(BAR, "·")
