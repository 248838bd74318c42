"""Spans of time as people write and read them."""

import re
from datetime import datetime, timedelta

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
NAMES = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
# Six digits: more weeks would soon be too long for a timedelta.
SPAN = re.compile(r"(\d{1,6})([smhdw])")


class Duration(click.ParamType[timedelta]):
    """A number with its unit: 90m, 26h, 2d."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        found = SPAN.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is no duration such as 90m, 26h or 2d", param, ctx)
        return timedelta(seconds=int(found[1]) * SECONDS[found[2]])


def span(elapsed: timedelta) -> str:
    """A span of time in the largest unit of which it has at least two, so that a day and a half is 36 h."""
    # A time that another machine wrote may lie ahead of this machine's clock.
    seconds = max(0, round(elapsed.total_seconds()))
    return next((f"{seconds // size} {unit}" for unit, size in NAMES if seconds >= 2 * size), f"{seconds} s")


def ago(moment: datetime, now: datetime) -> str:
    """A moment and how long ago it was."""
    return f"{moment:%Y-%m-%d %H:%M} UTC, {span(now - moment)} ago"
