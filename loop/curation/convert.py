"""Converters of one feedback to drafts of examples, or to the reason why it cannot be trained on."""

from dataclasses import replace
from math import isfinite

from loop.counts import Count
from loop.curation.draft import Draft, draft, pair, verdict
from loop.curation.joined import Joined
from loop.types import Branch, Message, Objective

REGENERATE_WEIGHT = 0.3
"""Weight of a regeneration: a weak complaint, because many ask again out of curiosity."""


def opinion(joined: Joined) -> list[Draft] | Count:
    """A verdict from a thumb or an implicit signal: its sign says better or worse, its size is the weight."""
    value = joined.feedback.value
    if value is None or not isfinite(value):
        return Count.UNUSABLE
    if value == 0:
        return Count.NEUTRAL
    return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, value))]


def edit(joined: Joined) -> list[Draft] | Count:
    """A pair of the text that the user wrote and the answer that it replaces."""
    original, text = joined.interaction.response, joined.feedback.text
    if not text or not text.strip():
        return Count.UNUSABLE
    if text.strip() == original.content.strip():  # a pair of equal answers would teach nothing
        return Count.UNCHANGED_EDITS
    return [draft(joined, Objective.PAIR, pair(replace(original, content=text), original))]


def demonstration(joined: Joined) -> list[Draft] | Count:
    """A demonstration of the answer that somebody showed."""
    text = joined.feedback.text
    if not text or not text.strip():
        return Count.UNUSABLE
    shown = Branch(Message("assistant", text))
    return [draft(joined, Objective.DEMONSTRATION, (shown,))]


def comparison(joined: Joined) -> list[Draft] | Count:
    """A pair of two answers to one prompt; answers to different prompts cannot be compared."""
    value, here, there = joined.feedback.value, joined.interaction, joined.other
    if value is None or not isfinite(value) or there is None:
        return Count.UNUSABLE
    if here.messages != there.messages:
        return Count.DIFFERENT_PROMPTS
    if value == 0 or here.response == there.response:
        return Count.NEUTRAL
    better, worse = (here, there) if value > 0 else (there, here)
    made = draft(joined, Objective.PAIR, pair(better.response, worse.response, min(1.0, abs(value))))
    # The example belongs to the better answer, whichever of the two the feedback was attached to.
    return [replace(made, interaction=better, verifiers=better.verifiers)]


def outcome(joined: Joined) -> list[Draft] | Count:
    """Verdicts from an outcome, 0 to 1 with .5 as neutral; one of a whole conversation is shared by its turns."""
    value = joined.feedback.value
    if value is None or not isfinite(value):
        return Count.UNUSABLE
    score = 2 * min(1.0, max(0.0, value)) - 1
    if score == 0:
        return Count.NEUTRAL
    if not joined.feedback.whole_conversation:
        return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, score))]
    turns = (*joined.interaction.messages, joined.interaction.response)
    answers = [n for n, turn in enumerate(turns) if turn.role == "assistant" and n > 0]  # the first has no prompt
    made = []
    for n in answers:
        shared = verdict(turns[n], score / len(answers))  # long conversations weigh no more than short ones
        made.append(draft(joined, Objective.UNPAIRED, shared, prompt=turns[:n]))
    return made


def regenerate(joined: Joined) -> list[Draft] | Count:
    """A weak complaint about the answer after which another one was asked for."""
    return [draft(joined, Objective.UNPAIRED, verdict(joined.interaction.response, -REGENERATE_WEIGHT))]


def comment(_: Joined) -> list[Draft] | Count:
    """The reason why comments are not trained on."""
    return Count.COMMENTS
