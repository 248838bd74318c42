"""Drafts, which the middle steps of curation pass on: examples in the making, with the account behind them."""

from dataclasses import dataclass
from datetime import datetime

from loop.curation.joined import Joined, cluster
from loop.curation.split import split_of
from loop.settings import CurationSettings
from loop.types import Branch, FeedbackKind, Interaction, Message, Objective, Split, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One account's opinion in the shape of an example."""

    interaction: Interaction
    """The interaction whose prompt it has."""
    account: str
    owners: frozenset[str]
    """Clusters of all interactions that it was made from."""
    objective: Objective
    signal: FeedbackKind
    prompt: tuple[Message, ...]
    branches: tuple[Branch, ...]
    """Branches as in an example: a pair has the better answer first."""
    observed_at: datetime
    event_ids: frozenset[str]
    verifiers: tuple[Verifier, ...] = ()


def draft(
    joined: Joined, objective: Objective, branches: tuple[Branch, ...], prompt: tuple[Message, ...] | None = None
) -> Draft:
    """A draft whose prompt are the interaction's own messages, or `prompt`, an earlier point of its conversation.

    The interaction's verifiers check its last answer, so only a draft with its own messages has them.
    """
    interactions = [i for i in (joined.interaction, joined.other) if i]
    event_ids = {joined.feedback.feedback_id}
    event_ids.update(i.interaction_id for i in interactions)
    return Draft(
        interaction=joined.interaction,
        account=joined.account,
        owners=frozenset(cluster(i) for i in interactions),
        objective=objective,
        signal=joined.feedback.kind,
        prompt=joined.interaction.messages if prompt is None else prompt,
        branches=branches,
        observed_at=joined.feedback.occurred_at,
        event_ids=frozenset(event_ids),
        verifiers=joined.interaction.verifiers if prompt in {None, joined.interaction.messages} else (),
    )


def pair(better: Message, worse: Message, weight: float = 1.0) -> tuple[Branch, ...]:
    """The branches of a pair, the better answer first."""
    return Branch(better, desirable=True, weight=weight), Branch(worse, desirable=False, weight=weight)


def verdict(response: Message, score: float) -> tuple[Branch, ...]:
    """The branch of an unpaired example: desirable above a score of 0, weighted by its distance from 0, at most 1."""
    return (Branch(response, desirable=score > 0, weight=min(1.0, abs(score))),)


def splits_of(draft: Draft, settings: CurationSettings) -> frozenset[Split]:
    """Splits of the users whose interactions a draft was made from; only a draft with one can become an example."""
    return frozenset(split_of(draft.interaction.tenant, owner, settings) for owner in draft.owners)
