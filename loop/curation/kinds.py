"""Third step of curation: feedback becomes drafts, each kind as its row says.

A row holds all that curation knows of a kind; a further kind is a row here and a member of `FeedbackKind`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from loop.counts import Count
from loop.curation.convert import comment, comparison, demonstration, edit, opinion, outcome, regenerate
from loop.curation.draft import Draft
from loop.curation.joined import Joined
from loop.curation.ratings import convert_ratings
from loop.types import FeedbackKind

Converter = Callable[[Sequence[Joined]], tuple[list[Draft], Counter[Count]]]
"""Function from all feedback of one kind to drafts, and to counts by reason of the feedback that gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Properties of one kind of feedback."""

    convert: Converter
    compares: bool = False
    """Whether it compares two answers: it waits until the second one is known, too."""
    pairs_by_prompt: bool = False
    """Whether verdicts on several answers to one prompt become pairs of a better and a worse one."""
    asks_again: bool = False
    """Whether it asks for another answer: a pair with a later answer that was liked."""


def convert(joined: Iterable[Joined]) -> tuple[list[Draft], Counter[Count]]:
    """Drafts of all feedback, and counts by reason of the feedback that no example can be made of."""
    by_kind = defaultdict(list)
    for each in joined:
        by_kind[each.feedback.kind].append(each)
    drafts: list[Draft] = []
    counts = Counter[Count]()
    for kind, feedback in by_kind.items():
        made, silent = KINDS[kind].convert(feedback)
        drafts += made
        counts += silent
    return drafts, counts


def _one_by_one(converted: Callable[[Joined], list[Draft] | Count]) -> Converter:
    """The converter of a kind whose feedback is understood alone."""

    def convert_all(feedback: Sequence[Joined]) -> tuple[list[Draft], Counter[Count]]:
        drafts: list[Draft] = []
        counts = Counter[Count]()
        for each in feedback:
            made = converted(each)
            if isinstance(made, Count):
                counts[made] += 1
            else:
                drafts += made
        return drafts, counts

    return convert_all


KINDS: Mapping[FeedbackKind, Kind] = {
    FeedbackKind.COMPARISON: Kind(convert=_one_by_one(comparison), compares=True),
    FeedbackKind.EDIT: Kind(convert=_one_by_one(edit)),
    FeedbackKind.DEMONSTRATION: Kind(convert=_one_by_one(demonstration)),
    FeedbackKind.OUTCOME: Kind(convert=_one_by_one(outcome), pairs_by_prompt=True),
    FeedbackKind.THUMB: Kind(convert=_one_by_one(opinion)),
    # Together: a rating means something only beside the other ratings of its user.
    FeedbackKind.RATING: Kind(convert=convert_ratings),
    FeedbackKind.REGENERATE: Kind(convert=_one_by_one(regenerate), asks_again=True),
    FeedbackKind.IMPLICIT: Kind(convert=_one_by_one(opinion)),
    FeedbackKind.COMMENT: Kind(convert=_one_by_one(comment)),
}
"""A row for each kind, from the strongest to the weakest: of several on one answer the strongest one counts."""

STRENGTH = tuple(KINDS)
"""All kinds, from the strongest to the weakest."""
