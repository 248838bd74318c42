"""Second step of curation: feedback of accounts that are too new, or were created in a burst, does not count.

Both rules hold before the split, so that the vault cannot be stuffed either.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from operator import itemgetter
from statistics import median
from typing import TypeVar

from loop.counts import Count, quarantined_on
from loop.curation.join import Asked, account, once
from loop.curation.joined import Joined, cluster
from loop.settings import CurationSettings
from loop.types import Feedback

Who = TypeVar("Who")

FLOOR = 10
"""Least feedback of new accounts that a usual day is taken to have, so that a handful raises no alarm."""
HORIZONS = (1, 2, 3, 4, 5, 6, 7)
"""Days after its first over which a cohort is compared with earlier ones, so that accounts that wait are found, too."""

Account = tuple[str, str]
"""(tenant, account)."""
Cohort = tuple[str, date]
"""(tenant, day): its accounts first seen on that day; all from before the tenant's first feedback are one cohort."""


@dataclass(frozen=True, slots=True)
class History:
    """History of all accounts, inside the curation window or not."""

    born: Mapping[Account, datetime]
    """Time at which each account was first seen, asking or giving feedback."""
    first: Mapping[str, date]
    """First day of each tenant's log."""
    opened: Mapping[str, date]
    """Day of each tenant's first feedback."""
    given: Mapping[Cohort, Sequence[datetime]]
    """Times of all feedback of each cohort, oldest first."""


def history(feedback: Iterable[Feedback], known: Asked) -> History:
    """The history of every account in these events."""
    asked = [((i.tenant, cluster(i)), i.occurred_at) for i in once(known.by_id)]
    times = []
    for opinion in feedback:
        who = account(opinion, known)
        if who:
            times.append(((opinion.tenant, who), opinion.occurred_at))
    born = _earliest(asked + times)
    first, opened = _first_days(asked + times), _first_days(times)
    given: dict[Cohort, list[datetime]] = defaultdict(list)
    for giver, at in sorted(times, key=itemgetter(1)):
        # Users who were there before feedback could be given are no burst on the day it could.
        given[giver[0], max(_day(born[giver]), opened[giver[0]])].append(at)
    return History(born, first, opened, given)


def trusted(
    joined: Iterable[Joined], past: History, settings: CurationSettings, as_of: datetime
) -> tuple[list[Joined], Counter[str]]:
    """The feedback that counts, and counts of the rest: `young`, `quarantined`, `quarantined/<day of birth>`.

    `last_day` counts all feedback of the newest 24 hours, `last_day_quarantined` the part of it in quarantine: an
    attack is seen on its day, however long the log is, and does not stop the nights after it.
    """
    opinions = list(joined)
    counts, kept = Counter[str](), []
    since = max((opinion.feedback.occurred_at for opinion in opinions), default=as_of) - timedelta(days=1)
    # Of all cohorts, also those whose feedback is outside the window by now.
    bursts = {cohort for cohort in past.given if _is_burst(past, cohort, settings.burst_factor)}
    for opinion in opinions:
        recent = opinion.feedback.occurred_at > since
        counts[Count.LAST_DAY] += recent
        tenant, born = opinion.feedback.tenant, past.born[opinion.feedback.tenant, opinion.account]
        cohort = tenant, max(_day(born), past.opened[tenant])
        if cohort in bursts:
            counts.update((Count.QUARANTINED, quarantined_on(cohort[1])))
            counts[Count.LAST_DAY_QUARANTINED] += recent
        # On the first day of a log nobody can be old enough: everybody on it is trusted at once.
        elif _day(born) > past.first[tenant] and as_of - born < timedelta(days=settings.min_account_days):
            counts[Count.YOUNG] += 1
        else:
            kept.append(opinion)
    return kept, counts


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _earliest(times: Iterable[tuple[Who, datetime]]) -> dict[Who, datetime]:
    earliest: dict[Who, datetime] = {}
    for who, at in times:
        earliest[who] = min(at, earliest.get(who, at))
    return earliest


def _first_days(seen: Iterable[tuple[Account, datetime]]) -> dict[str, date]:
    """First day of each tenant in `seen`."""
    by_tenant = [(tenant, at) for (tenant, _), at in seen]
    return {tenant: _day(at) for tenant, at in _earliest(by_tenant).items()}


def _is_burst(past: History, cohort: Cohort, factor: float) -> bool:
    """Whether a cohort gave too much feedback within any horizon, so that every later night finds it, too.

    Too much is more than `factor` times the median of the cohorts before it; the first cohort is one of these only when
    there is no other.
    """
    tenant, day = cohort
    first = past.opened[tenant]
    if factor <= 0 or day == first:  # the first cohort has none to be compared with
        return False
    earlier = [(tenant, first + timedelta(days=n)) for n in range(1, (day - first).days)] or [(tenant, first)]
    for horizon in HORIZONS:
        volume = _volume(past, cohort, horizon)
        if volume <= factor * FLOOR:
            continue
        # A median, which an earlier burst among many days hardly moves.
        usual = median(_volume(past, each, horizon) for each in earlier)
        if volume > factor * usual:
            return True
    return False


def _volume(past: History, cohort: Cohort, horizon: int) -> int:
    """Amount of feedback that a cohort gave within `horizon` days of its day."""
    end = datetime.combine(cohort[1], time(), UTC) + timedelta(days=horizon)
    return bisect_left(past.given.get(cohort, ()), end)
