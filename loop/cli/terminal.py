"""How people see results: tables and colours on a terminal, plain lines in a pipe or a file."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

COLUMNS = 80
"""Where nothing is known of the terminal."""
NARROWEST = 24
"""Characters that the last column of a table gets, at least."""
GAP = "  "
TONES = {
    "PROMOTE": "green",
    "PROMOTE, not promoted": "yellow",
    "REJECT": "yellow",
    "HOLD": "yellow",
    "UNDERPOWERED": "yellow",
    "SKIPPED": "yellow",
    "FAILED": "red",
    "DEAD": "red",
    "running": "cyan",
    "ok": "green",
    "BAD": "red",
}
"""Colours of the words that a result begins with; `click.echo` leaves them out where nobody sees them."""


def colours() -> bool | None:
    """False where NO_COLOR (no-color.org) or a dumb terminal forbids them, None to let click look at the stream."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def harmless(text: str) -> str:
    """`text` without what moves a cursor or colours a terminal: strangers and models wrote it."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def toned(text: str) -> str:
    """`text` in its colour or that of its first word, if it has one."""
    tone = TONES.get(text) or TONES.get(text.partition(" ")[0].rstrip(","))
    return click.style(text, fg=tone) if tone else text


def table(rows: Sequence[Sequence[str]], headers: Sequence[str] = ()) -> str:
    """Rows in columns; on a terminal under headers and with the last column wrapped, elsewhere a line each."""
    on_terminal = sys.stdout.isatty()
    shown = [headers, *rows] if on_terminal and headers else rows
    widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)][:-1]
    margin = sum(widths) + len(GAP) * len(widths)
    room = max(shutil.get_terminal_size((COLUMNS, 24)).columns - margin, NARROWEST)
    lines = []
    for row in shown:
        first, *more = textwrap.wrap(row[-1], room) or [""] if on_terminal else [row[-1]]
        tone = _bold if row is headers else toned
        cells = [tone(cell) + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=False)]
        lines.append(GAP.join([*cells, tone(first)]).rstrip())
        lines += [" " * margin + line for line in more]
    return "\n".join(lines)


def _bold(text: str) -> str:
    return click.style(text, bold=True)
