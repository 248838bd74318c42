"""Counts of the curation report: their names, and access to them."""

from collections.abc import Mapping
from datetime import date
from enum import StrEnum


# Their texts stand in snapshots and in the store: they keep them for ever.
class Count(StrEnum):
    """Name of a count, in the order of curation's steps: counts of feedback, and from DRAFTS on of examples."""

    FEEDBACK = "feedback"
    SUPERSEDED = "superseded"
    RETRACTED = "retracted"
    ORPHANS = "orphans"
    IMMATURE = "immature"
    OUTSIDE_WINDOW = "outside_window"
    MATURE = "mature"
    LAST_DAY = "last_day"
    LAST_DAY_QUARANTINED = "last_day_quarantined"
    QUARANTINED = "quarantined"
    YOUNG = "young"
    COMMENTS = "comments"
    DIFFERENT_PROMPTS = "different_prompts"
    NEUTRAL = "neutral"
    UNCHANGED_EDITS = "unchanged_edits"
    UNUSABLE = "unusable"
    MERGED = "merged"
    TIED = "tied"
    COVERED = "covered"
    DRAFTS = "drafts"
    SCRUBBED = "scrubbed"
    EMPTY_ANSWERS = "empty_answers"
    SHORTENED = "shortened"
    ACROSS_SPLITS = "across_splits"
    TOO_LONG = "too_long"
    EXACT_DUPLICATES = "exact_duplicates"
    NEAR_DUPLICATES = "near_duplicates"
    OVER_USER_CAP = "over_user_cap"
    CONTAMINATED = "contaminated"
    OVER_MAX_EXAMPLES = "over_max_examples"
    EXAMPLES = "examples"
    JUDGING_USERS = "judging_users"


def counted(curation: Mapping[str, int], name: Count) -> int:
    """Number of one count in a curation report, which leaves out counts of 0."""
    return curation.get(name, 0)


def quarantined_on(day: date) -> str:
    """Name of the count of feedback in quarantine whose accounts were first seen on `day`."""
    return f"{Count.QUARANTINED}/{day}"
