"""First step of curation: feedback that is in force meets its interaction, in whatever order both arrived."""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import product
from typing import TypeVar

from loop.counts import Count
from loop.curation.joined import Joined, cluster
from loop.curation.kinds import KINDS
from loop.settings import CurationSettings
from loop.types import Feedback, Interaction

Event = TypeVar("Event", Interaction, Feedback)
Index = Mapping[tuple[str, str, str], Event]
"""Events by (tenant, source, id); a source of "" stands for any."""


def index(events: Iterable[Event], key: Callable[[Event], str]) -> Index[Event]:
    """Events by (tenant, source, id), and by (tenant, "", id) for feedback that names an event of another source.

    Of two events with one id the earliest is kept, so that neither order nor repetition of arrival matters.
    """
    kept: dict[tuple[str, str, str], Event] = {}
    for event in events:
        for source in (event.source, ""):
            name = (event.tenant, source, key(event))
            rival = kept.setdefault(name, event)
            if rival is not event and rival != event:
                # Events may differ in their content alone: its text decides last, so that the order of arrival cannot.
                kept[name] = min(rival, event, key=lambda e: (e.occurred_at, e.source, repr(e)))
    return kept


def once(events: Index[Event]) -> list[Event]:
    """The events of an index, each once."""
    return [event for (_, source, _), event in events.items() if source]


@dataclass(frozen=True, slots=True)
class Asked:
    """Index of the interactions that feedback may be about, by id and by alias."""

    by_id: Index[Interaction]
    by_alias: Mapping[tuple[str, str, str], Sequence[Interaction]]
    """Interactions by (tenant, source, alias) and by (tenant, "", alias), oldest first."""


def asked(interactions: Iterable[Interaction]) -> Asked:
    """Interactions by their names; the order of `interactions` changes nothing."""
    by_id = index(interactions, lambda i: i.interaction_id)
    by_alias: dict[tuple[str, str, str], list[Interaction]] = defaultdict(list)
    for interaction in sorted(once(by_id), key=lambda i: (i.occurred_at, i.source, i.interaction_id)):
        for alias, source in product(interaction.aliases, (interaction.source, "")):
            by_alias[interaction.tenant, source, alias].append(interaction)
    return Asked(by_id, by_alias)


def meant(known: Asked, by: Feedback, name: str | None) -> Interaction | None:
    """The interaction with this id or alias; of several with the alias the last before the feedback, else the first."""
    if found := find(known.by_id, by, name):  # an id goes before an alias, which several may share
        return found
    aliases = known.by_alias
    sharing = aliases.get((by.tenant, by.source, name or "")) or aliases.get((by.tenant, "", name or ""))
    if not sharing:
        return None
    earlier = bisect_right(sharing, by.occurred_at, key=lambda i: i.occurred_at)
    return sharing[max(earlier - 1, 0)]


def find(events: Index[Event], near: Feedback, name: str | None) -> Event | None:
    """The event with the id `name` in the tenant of `near`, from the same source if there is one."""
    return events.get((near.tenant, near.source, name or "")) or events.get((near.tenant, "", name or ""))


def account(feedback: Feedback, known: Asked) -> str | None:
    """Owner of an opinion: its user, else the interaction's; None while the interaction is not known."""
    if feedback.user_key:
        return feedback.user_key
    found = meant(known, feedback, feedback.interaction_id)
    return cluster(found) if found else None


def join(
    feedback: Index[Feedback], known: Asked, settings: CurationSettings, as_of: datetime
) -> tuple[list[Joined], Counter[Count]]:
    """Feedback in force on mature interactions inside the window, and counts by reason of the rest."""
    given, in_force = len(once(feedback)), newest(feedback, known)
    counts = Counter({Count.FEEDBACK: given, Count.SUPERSEDED: given - len(in_force)})
    joined = []
    for opinion in in_force:
        found = meant(known, opinion, opinion.interaction_id)
        other = meant(known, opinion, opinion.other_interaction_id)
        reason = _reason(opinion, found, other, settings, as_of)
        counts[reason] += 1
        if found and reason is Count.MATURE:
            who = opinion.user_key or cluster(found)
            joined.append(Joined(feedback=opinion, interaction=found, other=other, account=who))
    return joined, counts


def newest(feedback: Index[Feedback], known: Asked) -> list[Feedback]:
    """The latest feedback of every slot, by (occurred_at, feedback_id).

    A slot holds one user's feedback of one kind on one interaction, whatever name it used (for a comparison: on one
    pair). Each anonymous feedback has its own slot. A revision belongs to the slot of the feedback that it revises.
    """
    latest: dict[tuple[str, ...], Feedback] = {}
    for opinion in sorted(once(feedback), key=lambda f: (f.occurred_at, f.feedback_id, f.source)):
        # All of a chain of revisions count in the slot of its first one, by whatever name they know the answer.
        latest[_slot(_root(opinion, feedback, known), known)] = opinion
    return list(latest.values())


def _root(feedback: Feedback, others: Index[Feedback], known: Asked) -> Feedback:
    """The first feedback of a chain of revisions; of a cycle the one with the smallest id."""
    chain = [feedback]
    while target := find(others, chain[-1], chain[-1].revises):
        if target in chain:  # anybody may send a circle of revisions: it has to end, the same way for each member
            return min(chain[chain.index(target) :], key=lambda f: (f.feedback_id, f.source))
        if not _may_revise(chain, target, known):
            break
        chain.append(target)
    return chain[-1]


def _may_revise(newer: Sequence[Feedback], older: Feedback, known: Asked) -> bool:
    """Whether a revision is allowed: nobody replaces another user's feedback, nor feedback on something else."""
    users = {feedback.user_key for feedback in newer}
    users.add(older.user_key)
    users.discard(None)  # anonymous feedback belongs to nobody else
    named = newer[-1].interaction_id == older.interaction_id
    return len(users) <= 1 and (named or _subject(newer[-1], known) == _subject(older, known))


def _subject(feedback: Feedback, known: Asked) -> tuple[str, ...]:
    """Subject of a feedback: the ids of the interactions it means, or its own names where these are not known yet."""
    means = []
    for name in (feedback.interaction_id, feedback.other_interaction_id):
        found = meant(known, feedback, name)
        means.append(f"{found.source}/{found.interaction_id}" if found else f"/{name or ''}")
    return tuple(sorted(means))  # sorted, because a comparison stated from the other side is the same one


def _slot(feedback: Feedback, known: Asked) -> tuple[str, ...]:
    about = _subject(feedback, known)
    # Without a user nobody knows whether two opinions are of one person, so each anonymous one has its own slot.
    who = ("user", feedback.user_key) if feedback.user_key else ("feedback", feedback.source, feedback.feedback_id)
    return (feedback.tenant, *about, feedback.kind, *who)


def _reason(
    feedback: Feedback,
    found: Interaction | None,
    other: Interaction | None,
    settings: CurationSettings,
    as_of: datetime,
) -> Count:
    if feedback.retracted:
        return Count.RETRACTED
    if found is None or (KINDS[feedback.kind].compares and other is None):
        return Count.ORPHANS
    times = [interaction.occurred_at for interaction in (found, other) if interaction]
    # A comparison is as young as its younger answer and as old as its older one.
    if max(times) > as_of - timedelta(hours=settings.maturity_hours):
        return Count.IMMATURE
    if min(times) < as_of - timedelta(days=settings.window_days):
        return Count.OUTSIDE_WINDOW
    return Count.MATURE
