"""Meanings of curation's counts, for people who read a night's page."""

from collections.abc import Iterator, Mapping

from loop.counts import Count

MEANINGS: Mapping[Count, str] = {
    Count.FEEDBACK: "feedback read, given up to the night's last event",
    Count.SUPERSEDED: "replaced by later feedback of the same user on the same answer",
    Count.RETRACTED: "taken back by its user",
    Count.ORPHANS: "its interaction is not known (yet): looked for again every night",
    Count.IMMATURE: "on an answer younger than `maturity_hours`: waits for a later night",
    Count.OUTSIDE_WINDOW: "on an answer older than `window_days`",
    Count.MATURE: "old enough to count and inside the window",
    Count.LAST_DAY: "of the last day before the night",
    Count.LAST_DAY_QUARANTINED: "of the last day, and in quarantine",
    Count.QUARANTINED: "in quarantine: its account was born in a sudden burst (`burst_factor`)",
    Count.YOUNG: "of an account younger than `min_account_days`: waits for a later night",
    Count.COMMENTS: "a comment, which says nothing that can be trained on",
    Count.DIFFERENT_PROMPTS: "a comparison of answers to different prompts",
    Count.NEUTRAL: "says neither better nor worse",
    Count.UNCHANGED_EDITS: "an edit that changed nothing",
    Count.UNUSABLE: "its value or its text is missing",
    Count.MERGED: "several opinions on one answer became one draft",
    Count.TIED: "drafts on which users are evenly divided",
    Count.COVERED: "single verdicts that a pair or a ranking of the same answers covers",
    Count.DRAFTS: "drafts of examples, before what follows",
    Count.SCRUBBED: "drafts in which personal data was replaced",
    Count.EMPTY_ANSWERS: "drafts with an empty answer",
    Count.SHORTENED: "rankings that lost answers between the best and the worst, to fit into 60,000 characters",
    Count.ACROSS_SPLITS: "drafts that mix users of different splits",
    Count.TOO_LONG: "drafts longer than 60,000 characters",
    Count.EXACT_DUPLICATES: "drafts that repeat one of the same user",
    Count.NEAR_DUPLICATES: "drafts that nearly repeat one of the same user",
    Count.OVER_USER_CAP: "drafts of one user beyond `per_user_cap`",
    Count.CONTAMINATED: "train examples that are copies of what judges, taken out",
    Count.OVER_MAX_EXAMPLES: "train examples beyond `max_examples`, oldest first",
    Count.EXAMPLES: "examples in the snapshot",
    Count.JUDGING_USERS: "held-out users whose feedback judges candidates; the gate needs `min_clusters` of them",
}
"""Meaning of each count."""


def explained(curation: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """Name, number and meaning of every count, in curation's order; a day's quarantine names the day."""
    meanings: Mapping[str, str] = {str(name): meaning for name, meaning in MEANINGS.items()}
    places = {str(name): place for place, name in enumerate(Count)}
    # Counts of another version, without a meaning here, are shown as well, at the end.
    for name in sorted(curation, key=lambda name: (places.get(name.partition("/")[0], len(places)), name)):
        kind, _, day = name.partition("/")
        meaning = f"in quarantine, of accounts first seen on {day}" if day else meanings.get(kind, "")
        yield name, curation[name], meaning
