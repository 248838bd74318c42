"""Drafts: unfinished examples, with the account behind them, as the middle steps of curation pass them on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from loop.branches import weight_of
from loop.curation.joined import Joined, cluster
from loop.curation.split import split_of
from loop.settings import CurationSettings
from loop.types import Branch, FeedbackKind, Interaction, Message, Objective, Split, Verifier

MOST_RANKED = 8
"""Most answers of a ranking: as many as the pairs of one prompt have, and as many as LiPO's lists had."""


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
    """Branches as in an example: best first."""
    value: float
    """The number that its feedback gave, 0 where it gave none; outcomes of one prompt are ranked by it."""
    observed_at: datetime
    event_ids: frozenset[str]
    verifiers: tuple[Verifier, ...] = ()

    @property
    def weight(self) -> float:
        """Weight of the draft as an example."""
        return weight_of(self.branches)


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
        value=joined.feedback.value or 0.0,
        observed_at=joined.feedback.occurred_at,
        event_ids=frozenset(event_ids),
        verifiers=joined.interaction.verifiers if prompt in {None, joined.interaction.messages} else (),
    )


def is_empty(answer: Message) -> bool:
    """Whether an answer has no text and calls no tool."""
    return not answer.content.strip() and not answer.tool_calls


def pair(better: Message, worse: Message, weight: float = 1.0) -> tuple[Branch, ...]:
    """The branches of a pair, the better answer first."""
    return Branch(better, weight), Branch(worse, -weight)


def verdict(response: Message, score: float) -> tuple[Branch, ...]:
    """The branch of an unpaired example: better above a score of 0, else worse; its size is at most 1."""
    return (Branch(response, max(-1.0, min(1.0, score))),)


def ranked(drafts: Sequence[Draft], scores: Sequence[float]) -> Draft:
    """The draft of a ranking of the first answers of `drafts`, best first, which belongs to the best of them."""
    answers = [draft.branches[0].response for draft in drafts]
    branches = tuple(Branch(answer, score) for answer, score in zip(answers, scores, strict=True))
    return replace(joint(drafts[0], drafts), objective=Objective.RANKING, branches=branches)


def joint(chosen: Draft, drafts: Sequence[Draft]) -> Draft:
    """`chosen` with the owners, the newest time and all events of `drafts`, which it was made from together."""
    return replace(
        chosen,
        owners=frozenset().union(*(draft.owners for draft in drafts)),
        observed_at=max(draft.observed_at for draft in drafts),
        event_ids=frozenset().union(*(draft.event_ids for draft in drafts)),
    )


def splits_of(draft: Draft, settings: CurationSettings) -> frozenset[Split]:
    """Splits of the users whose interactions a draft was made from; only a draft with one can become an example."""
    return frozenset(split_of(draft.interaction.tenant, owner, settings) for owner in draft.owners)
