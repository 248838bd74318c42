"""Curation of all feedback into examples, as one pure function of the set of events.

Its steps in their order: join, trust, convert, votes, outcomes, scrub, examples, dedup, bounds.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from loop.counts import Count
from loop.curation.bounds import cap_users, newest_train
from loop.curation.dedup import decontaminate, without_repeats
from loop.curation.examples import examples_of
from loop.curation.join import asked, index, join, once
from loop.curation.joined import Joined
from loop.curation.kinds import convert
from loop.curation.outcomes import compare_outcomes, pair_regenerated
from loop.curation.scrub import scrub_drafts
from loop.curation.trust import history, trusted
from loop.curation.votes import combine
from loop.settings import CurationSettings
from loop.settings.constants import NEAR_DUPLICATE
from loop.types import Example, Feedback, Interaction, Split


@dataclass(frozen=True, slots=True)
class Curated:
    """Result of curation."""

    examples: tuple[Example, ...]
    """Oldest first."""
    report: Mapping[str, int]
    """Counts by the names of `Count`, and of quarantine by day. Counts of 0 are left out."""


def curate(
    interactions: Iterable[Interaction], feedback: Iterable[Feedback], settings: CurationSettings, as_of: datetime
) -> Curated:
    """Examples from all events that had occurred at `as_of`.

    A function of the set of events: neither the order of their arrival nor their repetition changes anything.
    """
    known = asked(i for i in interactions if i.occurred_at <= as_of)
    given = index((f for f in feedback if f.occurred_at <= as_of), lambda f: f.feedback_id)
    joined, left_out = join(given, known, settings, as_of)
    # Trust looks at all events, also at those outside the window: a burst stays one however old it gets.
    kept, distrusted = trusted(joined, history(once(given), known), settings, as_of)
    examples, report = _examples(kept, settings)
    counts = left_out + distrusted + report
    return Curated(tuple(examples), {str(name): n for name, n in counts.items() if n})


def _examples(joined: Iterable[Joined], settings: CurationSettings) -> tuple[list[Example], Counter[Count]]:
    drafts, silent = convert(joined)
    drafts, contradicted = combine(drafts)
    drafts, covered = compare_outcomes(pair_regenerated(drafts), settings)
    # Scrubbed before anything has an id or is compared, so that neither depends on what is then removed.
    scrubbed = scrub_drafts(drafts) if settings.scrub else drafts
    examples, unfit = examples_of(scrubbed, settings)
    # Repeats go before the cap, so that a user's share is not spent on copies.
    unique, repeats = without_repeats(examples, NEAR_DUPLICATE)
    capped, over_cap = cap_users(unique, settings.per_user_cap)
    clean, contaminated = decontaminate(capped, NEAR_DUPLICATE)
    newest, too_many = newest_train(clean, settings.max_examples, settings.replay)
    judging = {(each.tenant, each.cluster) for each in newest if each.split is Split.VAULT}
    made = Counter(
        {
            Count.DRAFTS: len(drafts),
            Count.SCRUBBED: sum(before != after for before, after in zip(drafts, scrubbed, strict=True)),
            Count.OVER_USER_CAP: over_cap,
            Count.CONTAMINATED: contaminated,
            Count.OVER_MAX_EXAMPLES: too_many,
            Count.EXAMPLES: len(newest),
            Count.JUDGING_USERS: len(judging),
        }
    )
    return newest, silent + contradicted + covered + unfit + repeats + made
