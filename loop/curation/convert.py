"""Third step of curation: each kind of feedback as drafts of examples."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from math import isfinite

from loop.curation.draft import Draft, draft, pair, verdict
from loop.curation.join import Joined
from loop.curation.ratings import convert_ratings
from loop.types import Branch, FeedbackKind, Message, Objective

REGENERATE_WEIGHT = 0.3
"""Weight of a regeneration: a weak complaint, because many ask again out of curiosity."""


def convert(joined: Iterable[Joined]) -> tuple[list[Draft], Counter[str]]:
    """Drafts of all feedback, and counts by reason of the feedback that no example can be made of."""
    opinions = list(joined)
    ratings = [opinion for opinion in opinions if opinion.feedback.kind is FeedbackKind.RATING]
    # Together: a rating means something only beside the other ratings of its user.
    drafts, counts = convert_ratings(ratings)
    for opinion in opinions:
        if opinion.feedback.kind is not FeedbackKind.RATING:
            made = SAYS[opinion.feedback.kind](opinion)
            if isinstance(made, str):
                counts[made] += 1
            else:
                drafts += made
    return drafts, counts


def _opinion(joined: Joined) -> list[Draft] | str:
    """A verdict from a thumb or an implicit signal: its sign says better or worse, its size is the weight."""
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
    if text.strip() == original.content.strip():  # a pair of equal answers would teach nothing
        return "unchanged_edits"
    return [draft(joined, Objective.PAIR, pair(replace(original, content=text), original))]


def _demonstration(joined: Joined) -> list[Draft] | str:
    text = joined.feedback.text
    if not text or not text.strip():
        return "unusable"
    shown = Branch(Message("assistant", text))
    return [draft(joined, Objective.DEMONSTRATION, (shown,))]


def _comparison(joined: Joined) -> list[Draft] | str:
    """A pair of two answers to one prompt; answers to different prompts cannot be compared."""
    value, here, there = joined.feedback.value, joined.interaction, joined.other
    if value is None or not isfinite(value) or there is None:
        return "unusable"
    if here.messages != there.messages:
        return "different_prompts"
    if value == 0 or here.response == there.response:
        return "neutral"
    better, worse = (here, there) if value > 0 else (there, here)
    made = draft(joined, Objective.PAIR, pair(better.response, worse.response, min(1.0, abs(value))))
    # The example belongs to the better answer, whichever of the two the feedback was attached to.
    return [replace(made, interaction=better, verifiers=better.verifiers)]


def _outcome(joined: Joined) -> list[Draft] | str:
    """Verdicts from an outcome, 0 to 1 with .5 as neutral; one of a whole conversation is shared by its turns."""
    value = joined.feedback.value
    if value is None or not isfinite(value):
        return "unusable"
    score = 2 * min(1.0, max(0.0, value)) - 1
    if score == 0:
        return "neutral"
    if not joined.feedback.whole_conversation:
        return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, score))]
    turns = (*joined.interaction.messages, joined.interaction.response)
    answers = [n for n, turn in enumerate(turns) if turn.role == "assistant" and n > 0]  # the first has no prompt
    made = []
    for n in answers:
        shared = verdict(turns[n], score / len(answers))  # long conversations weigh no more than short ones
        made.append(draft(joined, Objective.UNPAIRED, shared, prompt=turns[:n]))
    return made


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
"""Converter of each kind of feedback, to drafts or to the reason why there are none; ratings are converted together."""
