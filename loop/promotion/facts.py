"""The ledger's facts on each version, for its page in the registry: who moved it, when and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from loop.promotion.champions import BASE, champions
from loop.types import Action, Promotion

HEADING = "\n\n**In the ledger**\n\n"
"""Heading between a version's description and its lines of the ledger, so that these can be written again."""
LINES = 8
"""Newest lines of the ledger on a page."""
REASON_CHARACTERS = 200
"""Longest reason on a page or in a tag."""
PAGE_CHARACTERS = 5_000
"""Longest description that MLflow's databases keep; PostgreSQL refuses a longer one."""


@dataclass(slots=True)
class Facts:
    """Rows of the ledger on one version, as tags and lines."""

    tags: dict[str, str] = field(default_factory=dict)
    """Time, actor and reason of the newest promotion, rollback and approval."""
    lines: list[str] = field(default_factory=list)
    """Lines of Markdown, one for each row, oldest first."""


def facts(entries: Sequence[Promotion]) -> Mapping[int, Facts]:
    """Facts of every version that a row is about, but the base model, which has no page."""
    found: dict[int, Facts] = {}
    for position, entry in enumerate(entries):
        for version, word, said in _mentions(entries[:position], entry):
            about = found.setdefault(version, Facts())
            about.tags |= _tags(word, entry)
            about.lines.append(f"- {entry.recorded_at:%Y-%m-%d %H:%M} UTC: {said} by {_by(entry)}")
    return {version: about for version, about in found.items() if version != BASE}


def described(description: str, about: Facts) -> str:
    """A version's description with its lines of the ledger in place of those it had."""
    judged, _, _ = description.partition(HEADING)
    older = len(about.lines) - LINES
    more = [f"- {older} earlier rows: `nightshift history`"] if older > 0 else []
    ending = HEADING + "\n".join(more + about.lines[-LINES:])
    # Of a page that would be too long the description is cut, and not the ledger's lines.
    return judged[: PAGE_CHARACTERS - len(ending)] + ending


def _mentions(before: Sequence[Promotion], entry: Promotion) -> Iterator[tuple[int, str, str]]:
    """Versions that a row is about, each with the prefix of its tags and a sentence on the move."""
    match entry.action:
        case Action.PROMOTE:
            yield entry.to_version, "promoted", f"promoted over version {entry.from_version}"
        case Action.ANCHOR:
            yield entry.to_version, "anchored", "made the anchor"
        case Action.ROLLBACK:
            # One rollback may go back over several champions: all above its target were rolled back.
            standing, after = champions(before), list(before)
            after.append(entry)
            for version in standing[len(champions(after)) :]:
                yield version, "rolled_back", f"rolled back to version {entry.to_version}"
            yield entry.to_version, "restored", f"champion again in place of version {entry.from_version}"


def _tags(word: str, entry: Promotion) -> dict[str, str]:
    at = f"{entry.recorded_at:%Y-%m-%dT%H:%M:%SZ}"
    return {f"{word}_at": at, f"{word}_by": entry.actor, f"{word}_reason": _one_line(entry.reason)}


def _by(entry: Promotion) -> str:
    reason = _one_line(entry.reason)
    return f"{entry.actor} (ledger row {entry.sequence}){': ' if reason else ''}{reason}"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:REASON_CHARACTERS]
