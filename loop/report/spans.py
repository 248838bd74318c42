"""Spans of time as people read them."""

from datetime import datetime, timedelta

NAMES = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def span(elapsed: timedelta) -> str:
    """A span of time in the largest unit of which it has at least two, so that a day and a half is 36 h."""
    # A time that another machine wrote may lie ahead of this machine's clock.
    seconds = max(0, round(elapsed.total_seconds()))
    return next((f"{seconds // size} {unit}" for unit, size in NAMES if seconds >= 2 * size), f"{seconds} s")


def ago(moment: datetime, now: datetime) -> str:
    """A moment and how long ago it was."""
    return f"{moment:%Y-%m-%d %H:%M} UTC, {span(now - moment)} ago"
