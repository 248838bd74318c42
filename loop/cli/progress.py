"""How far long work is: one line on a terminal, rewritten, with the seconds left; a log line a minute elsewhere."""

import logging
import shutil
import sys
import time
from threading import Lock, Thread

log = logging.getLogger("nightshift.progress")
log.setLevel(logging.INFO)

ERASE_LINE = "\r\x1b[2K"
SECONDS_BETWEEN_LINES = 60.0
SECONDS_BETWEEN_LOOKS = 0.25
BEGINS = "begins"
"""The note of a stage that says no more: the line moves, and that is enough."""
BAR = 20
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
EIGHTHS = " ▏▎▍▌▋▊▉"


class ShownProgress:
    """See loop.ports.Progress. What was said last is shown, with the time, until it is said to have ended."""

    def __init__(self) -> None:
        self.title = ""
        """What all of it is about, in front of every line."""
        self._said: tuple[str, int, int, str] | None = None
        self._began = self._heard = 0.0
        self._first = 0
        self._lock = Lock()
        self._watched = sys.stderr.isatty()
        Thread(target=self._remind, daemon=True).start()

    def __call__(self, stage: str, done: int, of: int, note: str) -> None:
        """Show it where standard error goes."""
        with self._lock:
            now, before = time.monotonic(), self._said
            if before is None or (before[0], before[2]) != (stage, of):
                self._began, self._first = now, done
            self._heard = now
            self._said = (stage, done, of, note) if done < of else None
            if self._watched:
                self._rewrite()

    def _remind(self) -> None:
        while True:
            time.sleep(SECONDS_BETWEEN_LOOKS if self._watched else SECONDS_BETWEEN_LINES)
            with self._lock:
                if self._watched and self._said:
                    self._rewrite()
                elif self._said:
                    silent = time.monotonic() - self._heard
                    ago = f"  ({silent / 60:.0f} min ago)" if silent >= SECONDS_BETWEEN_LINES else ""
                    log.info("%s%s", self._plain(), ago)

    def _plain(self) -> str:
        """What was said last, in words."""
        stage, done, of, note = self._said or ("", 0, 0, "")
        counted = [f"{done}/{of}", note, *self._left(done, of)] if of > 1 else [note]
        return " ".join(filter(None, [self.title, stage, *counted]))

    def _rewrite(self) -> None:
        sys.stderr.write(ERASE_LINE + self._drawn())
        sys.stderr.flush()

    def _drawn(self) -> str:
        """The line of now, at most as wide as the terminal; nothing where the work has ended."""
        if self._said is None:
            return ""
        stage, done, of, note = self._said
        seconds = time.monotonic() - self._began
        what = f"{self.title} {stage:<9}".lstrip()
        if of > 1:
            parts = [what, bar(done / of), f"{done}/{of}", note, *self._left(done, of)]
        else:
            turning = SPINNER[int(seconds / SECONDS_BETWEEN_LOOKS) % len(SPINNER)]
            parts = [what, turning, "" if note == BEGINS else note, f"{seconds:.0f} s"]
        return "  ".join(filter(None, parts))[: shutil.get_terminal_size().columns - 1]

    def _left(self, done: int, of: int) -> list[str]:
        """Seconds left at the pace so far; nothing before there is a pace."""
        if done <= self._first:
            return []
        pace = (self._heard - self._began) / (done - self._first)
        left = pace * (of - done) - (time.monotonic() - self._heard)
        return [f"{max(left, 0):.0f} s left"]


def bar(share: float) -> str:
    """A bar of `share`, drawn in eighths of a character."""
    eighths = round(8 * BAR * min(max(share, 0.0), 1.0))
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(BAR, "·")
