"""Spans of time as people write them."""

import re
from datetime import timedelta

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
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
