"""Third step of curation: what each kind of feedback says, in the shape of an example."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import isfinite

from loop.curation.draft import Draft, draft, pair, verdict
from loop.curation.join import Joined
from loop.curation.ratings import convert_ratings
from loop.types import Branch, FeedbackKind, Message, Objective

REGENERATE_WEIGHT = 0.3
"""Asking again is a weak complaint: many do it out of curiosity."""


def convert(joined: Iterable[Joined]) -> tuple[list[Draft], Counter[str]]:
    """Drafts of all feedback, and how much says nothing an example could be made of, by reason."""
    opinions = list(joined)
    ratings = [opinion for opinion in opinions if opinion.feedback.kind is FeedbackKind.RATING]
    drafts, counts = convert_ratings(ratings)
    for opinion in opinions:
        if opinion.feedback.kind is not FeedbackKind.RATING:
            made = SAYS[opinion.feedback.kind](opinion)
            drafts += [] if isinstance(made, str) else made
            counts.update([made] if isinstance(made, str) else [])
    return drafts, counts


def _opinion(joined: Joined) -> list[Draft] | str:
    """A thumb, or an implicit signal: its sign is the verdict, its size the weight."""
    value = joined.feedback.value
    if value is None or not isfinite(value):
        return "unusable"
    if value == 0:
        return "neutral"
    return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, value))]


def _edit(joined: Joined) -> list[Draft] | str:
    original, text = joined.interaction.response, joined.feedback.text
    if not text or not text.strip():
        return "unusable"
    if text.strip() == original.content.strip():
        return "unchanged_edits"
    return [draft(joined, Objective.PAIR, pair(replace(original, content=text), original))]


def _demonstration(joined: Joined) -> list[Draft] | str:
    text = joined.feedback.text
    if not text or not text.strip():
        return "unusable"
    shown = Branch(Message("assistant", text), desirable=True)
    return [draft(joined, Objective.DEMONSTRATION, (shown,))]


def _comparison(joined: Joined) -> list[Draft] | str:
    """Two answers to one prompt; answers to different prompts cannot be compared."""
    value, here, there = joined.feedback.value, joined.interaction, joined.other
    if value is None or not isfinite(value) or there is None:
        return "unusable"
    if here.messages != there.messages:
        return "different_prompts"
    if value == 0 or here.response == there.response:
        return "neutral"
    better, worse = (here, there) if value > 0 else (there, here)
    made = draft(joined, Objective.PAIR, pair(better.response, worse.response, min(1.0, abs(value))))
    return [replace(made, interaction=better, verifiers=better.verifiers)]


def _outcome(joined: Joined) -> list[Draft] | str:
    """0 to 1, where .5 says nothing; one of a whole conversation is shared by its assistant turns."""
    value = joined.feedback.value
    if value is None or not isfinite(value):
        return "unusable"
    score = 2 * min(1.0, max(0.0, value)) - 1
    if score == 0:
        return "neutral"
    if not joined.feedback.whole_conversation:
        return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, score))]
    turns = (*joined.interaction.messages, joined.interaction.response)
    answers = [n for n, turn in enumerate(turns) if turn.role == "assistant" and n > 0]
    return [
        draft(joined, Objective.UNPAIRED, verdict(turns[n], score / len(answers)), prompt=turns[:n]) for n in answers
    ]


def _regenerate(joined: Joined) -> list[Draft] | str:
    return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, -REGENERATE_WEIGHT))]


def _comment(_: Joined) -> list[Draft] | str:
    return "comments"


SAYS = {
    FeedbackKind.THUMB: _opinion,
    FeedbackKind.IMPLICIT: _opinion,
    FeedbackKind.EDIT: _edit,
    FeedbackKind.COMPARISON: _comparison,
    FeedbackKind.DEMONSTRATION: _demonstration,
    FeedbackKind.OUTCOME: _outcome,
    FeedbackKind.REGENERATE: _regenerate,
    FeedbackKind.COMMENT: _comment,
}
"""Drafts of one feedback, or the reason why there are none; ratings are converted together."""
