"""Results as people see them: tables and colours on a terminal, plain lines in a pipe or a file."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence

import click

COLUMNS = 80
"""Width that is assumed where nothing is known of the terminal."""
NARROWEST = 24
"""Least number of characters that the last column of a table gets."""
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
"""Colours of the words that a result begins with; `click.echo` drops them where the output is no terminal."""


def colours() -> bool | None:
    """Whether to use colours: False for NO_COLOR (no-color.org) or a dumb terminal, None where click decides."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def harmless(text: str) -> str:
    """`text`, which strangers or models wrote, with all characters escaped that move a cursor or colour a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def toned(text: str) -> str:
    """`text` in its colour or that of its first word, if it has one."""
    tone = TONES.get(text) or TONES.get(text.partition(" ")[0].rstrip(","))
    return click.style(text, fg=tone) if tone else text


def table(rows: Sequence[Sequence[str]], headers: Sequence[str] = ()) -> str:
    """Rows in columns: on a terminal below headers, with the last column wrapped; elsewhere one line for each row."""
    on_terminal = sys.stdout.isatty()
    shown = list(rows)
    if on_terminal and headers:
        shown.insert(0, headers)
    # The last column has no width of its own: it gets the room that is left.
    widths = [max(map(len, cells)) for cells in zip(*shown, strict=True)][:-1]
    margin = sum(widths) + len(GAP) * len(widths)
    room = max(shutil.get_terminal_size((COLUMNS, 24)).columns - margin, NARROWEST)
    lines = []
    for row in shown:
        # An empty cell wraps to no line at all, but its row is shown.
        pieces = (textwrap.wrap(row[-1], room) or [""]) if on_terminal else [row[-1]]
        tone = _bold if row is headers else toned
        # Padded after colouring, because the codes of a colour take no room.
        cells = [tone(cell) + " " * (width - len(cell)) for cell, width in zip(row, widths, strict=False)]
        cells.append(tone(pieces[0]))
        lines.append(GAP.join(cells).rstrip())
        lines += [" " * margin + piece for piece in pieces[1:]]
    return "\n".join(lines)


def _bold(text: str) -> str:
    return click.style(text, bold=True)
