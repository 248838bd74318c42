"""Drafts to examples: every draft that can be trained on gets its split and its id."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, replace
from math import copysign

from loop.branches import spread
from loop.counts import Count
from loop.curation.draft import Draft, is_empty, splits_of
from loop.curation.joined import cluster
from loop.hashing import digest
from loop.settings import CurationSettings
from loop.settings.constants import MAX_CHARS
from loop.types import Branch, Example, Message


def examples_of(drafts: Iterable[Draft], settings: CurationSettings) -> tuple[list[Example], Counter[Count]]:
    """Examples of all drafts that can be trained on, and counts by reason of the others."""
    examples, counts = [], Counter[Count]()
    for draft in drafts:
        fitting = _shortened(draft, MAX_CHARS)
        if reason := _unfit(fitting, settings):
            counts[reason] += 1
        else:
            examples.append(_example(fitting, settings))
            counts[Count.SHORTENED] += len(fitting.branches) < len(draft.branches)
    return examples, counts


def _shortened(draft: Draft, most: int) -> Draft:
    """`draft` with at most `most` characters where fewer answers of a ranking, three at least, get it there."""
    kept = draft
    while len(kept.branches) > 3 and _length(kept) > most:
        kept = replace(draft, branches=spread(draft.branches, len(kept.branches) - 1))
    return kept


def _unfit(draft: Draft, settings: CurationSettings) -> Count | None:
    answers = [branch.response for branch in draft.branches]
    if any(map(is_empty, answers)):
        return Count.EMPTY_ANSWERS
    if len(splits_of(draft, settings)) > 1:  # trained on, it would leak one user's held-out text
        return Count.ACROSS_SPLITS
    if _length(draft) > MAX_CHARS:
        return Count.TOO_LONG
    return None


def _length(draft: Draft) -> int:
    """Characters of the prompt and all answers."""
    return sum(map(_chars, draft.prompt)) + sum(_chars(branch.response) for branch in draft.branches)


def _chars(message: Message) -> int:
    return len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)


def _example(draft: Draft, settings: CurationSettings) -> Example:
    """The example of a draft, with the digest of everything else as its id."""
    (split,) = splits_of(draft, settings)
    example = Example(
        example_id="",
        objective=draft.objective,
        signal=draft.signal,
        prompt=draft.prompt,
        branches=tuple(_rounded(branch) for branch in draft.branches),
        split=split,
        cluster=cluster(draft.interaction),
        tenant=draft.interaction.tenant,
        conversation_id=draft.interaction.conversation_id,
        observed_at=draft.observed_at,
        event_ids=tuple(sorted(draft.event_ids)),
        verifiers=draft.verifiers,
    )
    return replace(example, example_id=digest(content(example)))


def content(example: Example) -> dict[str, object]:
    """Everything that an example says, in the form that its id and the snapshot's are digests of."""
    said = {field.name: getattr(example, field.name) for field in fields(example)}
    # Scores were written as `desirable` and `weight` when the first ids were made: the same content keeps its id.
    said["branches"] = [
        {"response": branch.response, "desirable": copysign(1, branch.score) > 0, "weight": abs(branch.score)}
        for branch in example.branches
    ]
    return said


def _rounded(branch: Branch) -> Branch:
    """The branch with its score rounded to six digits, so that rounding errors do not make new ids."""
    return replace(branch, score=float(f"{branch.score:.6g}"))
