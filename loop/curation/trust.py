"""Second step of curation: feedback of accounts too new to be trusted, or born in a burst, does not count.

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

from loop.curation.join import Asked, Joined, account, cluster, once
from loop.settings import CurationSettings
from loop.types import Feedback

Who = TypeVar("Who")

FLOOR = 10
"""The usual day has at least this much feedback of new accounts: small systems do not alarm at a handful."""
HORIZONS = (1, 2, 3, 4, 5, 6, 7)
"""Days after its birth over which a cohort is compared with earlier ones, so that sleepers are seen too."""

Account = tuple[str, str]
"""(tenant, account)."""
Cohort = tuple[str, date]
"""The accounts of a tenant that were first seen on one day; all from before its first feedback count as one."""


@dataclass(frozen=True, slots=True)
class History:
    """What trust knows of the accounts: all they ever did, inside the window or not."""

    born: Mapping[Account, datetime]
    """When each account was first seen, in anything it did."""
    first: Mapping[str, date]
    """The first day of each tenant's log."""
    opened: Mapping[str, date]
    """The day of each tenant's first feedback."""
    given: Mapping[Cohort, Sequence[datetime]]
    """Times of all feedback of each cohort, sorted."""


def history(feedback: Iterable[Feedback], known: Asked) -> History:
    """The history of every account in these events."""
    asked = [((i.tenant, cluster(i)), i.occurred_at) for i in once(known.by_id)]
    told = [((f.tenant, who), f.occurred_at) for f in feedback if (who := account(f, known))]
    born = _earliest([*asked, *told])
    first = {tenant: _day(at) for tenant, at in _earliest((who[0], at) for who, at in [*asked, *told]).items()}
    opened = {tenant: _day(at) for tenant, at in _earliest((who[0], at) for who, at in told).items()}
    given: dict[Cohort, list[datetime]] = defaultdict(list)
    for giver, at in sorted(told, key=itemgetter(1)):
        given[giver[0], max(_day(born[giver]), opened[giver[0]])].append(at)
    return History(born, first, opened, given)


def trusted(
    joined: Iterable[Joined], past: History, settings: CurationSettings, as_of: datetime
) -> tuple[list[Joined], Counter[str]]:
    """The feedback that counts, and how much was held back: `young`, `quarantined`, `quarantined/<day of birth>`.

    `last_day` is all feedback of the newest 24 hours and `last_day_quarantined` what was held of it: an attack is seen
    on its day, however long the log is, and does not stop the nights after it.
    """
    opinions = list(joined)
    counts, kept = Counter[str](), []
    since = max((opinion.feedback.occurred_at for opinion in opinions), default=as_of) - timedelta(days=1)
    bursts = {cohort for cohort in past.given if _is_burst(past, cohort, settings.burst_factor)}
    for opinion in opinions:
        recent = opinion.feedback.occurred_at > since
        counts["last_day"] += recent
        tenant, born = opinion.feedback.tenant, past.born[opinion.feedback.tenant, opinion.account]
        cohort = tenant, max(_day(born), past.opened[tenant])
        if cohort in bursts:
            counts.update(("quarantined", f"quarantined/{cohort[1]}"))
            counts["last_day_quarantined"] += recent
        elif _day(born) > past.first[tenant] and as_of - born < timedelta(days=settings.min_account_days):
            counts["young"] += 1
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


def _is_burst(past: History, cohort: Cohort, factor: float) -> bool:
    """Whether a cohort gave too much within any horizon; so a burst once seen is seen in every later night.

    Too much is more than `factor` times the median of the cohorts before it, the first one only for want of others.
    """
    tenant, day = cohort
    first = past.opened[tenant]
    if factor <= 0 or day == first:
        return False
    earlier = [(tenant, first + timedelta(days=n)) for n in range(1, (day - first).days)] or [(tenant, first)]
    return any(
        (volume := _volume(past, cohort, horizon)) > factor * FLOOR
        and volume > factor * median(_volume(past, each, horizon) for each in earlier)
        for horizon in HORIZONS
    )


def _volume(past: History, cohort: Cohort, horizon: int) -> int:
    """Feedback given by a cohort within `horizon` days of its day."""
    end = datetime.combine(cohort[1], time(), UTC) + timedelta(days=horizon)
    return bisect_left(past.given.get(cohort, ()), end)
