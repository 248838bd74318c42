"""Meanings of curation's counts, for people who read a night's page."""

from collections.abc import Iterator, Mapping

MEANINGS: Mapping[str, str] = {
    "feedback": "feedback read, given up to the night's last event",
    "superseded": "replaced by later feedback of the same user on the same answer",
    "retracted": "taken back by its user",
    "orphans": "its interaction is not known (yet): looked for again every night",
    "immature": "on an answer younger than `maturity_hours`: waits for a later night",
    "outside_window": "on an answer older than `window_days`",
    "mature": "old enough to count and inside the window",
    "last_day": "of the last day before the night",
    "last_day_quarantined": "of the last day, and in quarantine",
    "quarantined": "in quarantine: its account was born in a sudden burst (`burst_factor`)",
    "young": "of an account younger than `min_account_days`: waits for a later night",
    "comments": "a comment, which says nothing that can be trained on",
    "different_prompts": "a comparison of answers to different prompts",
    "neutral": "says neither better nor worse",
    "unchanged_edits": "an edit that changed nothing",
    "unusable": "its value or its text is missing",
    "merged": "several opinions on one answer became one draft",
    "tied": "drafts on which users are evenly divided",
    "covered": "single verdicts that a pair of the same answers covers",
    "drafts": "drafts of examples, before what follows",
    "scrubbed": "drafts in which personal data was replaced",
    "empty_answers": "drafts with an empty answer",
    "across_splits": "drafts that mix users of different splits",
    "too_long": "drafts longer than 60,000 characters",
    "exact_duplicates": "drafts that repeat one of the same user",
    "near_duplicates": "drafts that nearly repeat one of the same user",
    "over_user_cap": "drafts of one user beyond `per_user_cap`",
    "contaminated": "train examples that are copies of what judges, taken out",
    "over_max_examples": "train examples beyond `max_examples`, oldest first",
    "examples": "examples in the snapshot",
    "judging_users": "held-out users whose feedback judges candidates; the gate needs `min_clusters` of them",
}
"""Meaning of each count, in the order of curation's steps."""


def explained(curation: Mapping[str, int]) -> Iterator[tuple[str, int, str]]:
    """Name, number and meaning of every count, in curation's order; a day's quarantine names the day."""
    known = {name: place for place, name in enumerate(MEANINGS)}
    # Counts without a meaning are shown as well, at the end.
    for name in sorted(curation, key=lambda name: (known.get(name.partition("/")[0], len(known)), name)):
        kind, _, day = name.partition("/")
        meaning = f"in quarantine, of accounts first seen on {day}" if day else MEANINGS.get(kind, "")
        yield name, curation[name], meaning
