"""What the middle steps of curation pass on: an example in the making, with the account that argues for it."""

from dataclasses import dataclass
from datetime import datetime

from loop.curation.join import Joined, cluster
from loop.curation.split import split_of
from loop.settings import CurationSettings
from loop.types import Branch, FeedbackKind, Interaction, Message, Objective, Split, Verifier

STRENGTH = (
    FeedbackKind.COMPARISON,
    FeedbackKind.EDIT,
    FeedbackKind.DEMONSTRATION,
    FeedbackKind.OUTCOME,
    FeedbackKind.THUMB,
    FeedbackKind.RATING,
    FeedbackKind.REGENERATE,
    FeedbackKind.IMPLICIT,
)
"""Which signal speaks for an answer that has several, strongest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One account's opinion in the shape of the example it argues for."""

    interaction: Interaction
    """Where the prompt comes from."""
    account: str
    owners: frozenset[str]
    """Clusters of all interactions in it."""
    objective: Objective
    signal: FeedbackKind
    prompt: tuple[Message, ...]
    branches: tuple[Branch, ...]
    """As in an example: a pair has the better answer first."""
    observed_at: datetime
    event_ids: frozenset[str]
    verifiers: tuple[Verifier, ...] = ()


def draft(
    joined: Joined, objective: Objective, branches: tuple[Branch, ...], prompt: tuple[Message, ...] | None = None
) -> Draft:
    """A draft below the interaction's own messages, or below `prompt`, an earlier point of its conversation.

    The interaction's verifiers check its last answer, so they go with its own messages alone.
    """
    interactions = [i for i in (joined.interaction, joined.other) if i]
    return Draft(
        interaction=joined.interaction,
        account=joined.account,
        owners=frozenset(cluster(i) for i in interactions),
        objective=objective,
        signal=joined.feedback.kind,
        prompt=joined.interaction.messages if prompt is None else prompt,
        branches=branches,
        observed_at=joined.feedback.occurred_at,
        event_ids=frozenset([joined.feedback.feedback_id, *(i.interaction_id for i in interactions)]),
        verifiers=joined.interaction.verifiers if prompt in {None, joined.interaction.messages} else (),
    )


def pair(better: Message, worse: Message, weight: float = 1.0) -> tuple[Branch, ...]:
    """The branches of a pair."""
    return Branch(better, desirable=True, weight=weight), Branch(worse, desirable=False, weight=weight)


def verdict(response: Message, score: float) -> tuple[Branch, ...]:
    """The branch of an unpaired example: liked above 0, disliked below, weighted by the distance (at most 1)."""
    return (Branch(response, desirable=score > 0, weight=min(1.0, abs(score))),)


def splits_of(draft: Draft, settings: CurationSettings) -> frozenset[Split]:
    """The splits of the users whose interactions are in it: one, for all that may become an example."""
    return frozenset(split_of(draft.interaction.tenant, owner, settings) for owner in draft.owners)


def order(draft: Draft) -> tuple[int, float, list[str]]:
    """Sorts drafts from the strongest, newest one on."""
    return STRENGTH.index(draft.signal), -draft.observed_at.timestamp(), sorted(draft.event_ids)
