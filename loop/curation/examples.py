"""Drafts to examples: every draft that can be trained on gets its split and its id."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from loop.canonical import digest
from loop.curation.draft import Draft, splits_of
from loop.curation.join import cluster
from loop.settings import CurationSettings
from loop.settings.constants import MAX_CHARS
from loop.types import Branch, Example, Message


def examples_of(drafts: Iterable[Draft], settings: CurationSettings) -> tuple[list[Example], Counter[str]]:
    """Examples of all drafts that can be trained on, and counts by reason of the others."""
    examples, counts = [], Counter[str]()
    for draft in drafts:
        if reason := _unfit(draft, settings):
            counts[reason] += 1
        else:
            examples.append(_example(draft, settings))
    return examples, counts


def _unfit(draft: Draft, settings: CurationSettings) -> str | None:
    answers = [branch.response for branch in draft.branches]
    if any(not answer.content.strip() and not answer.tool_calls for answer in answers):
        return "empty_answers"
    if len(splits_of(draft, settings)) > 1:  # trained on, it would leak one user's held-out text
        return "across_splits"
    if sum(_chars(message) for message in list(draft.prompt) + answers) > MAX_CHARS:
        return "too_long"
    return None


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
    return replace(example, example_id=digest(example))


def _rounded(branch: Branch) -> Branch:
    """The branch with its weight rounded to six digits, so that rounding errors do not make new ids."""
    return replace(branch, weight=float(f"{branch.weight:.6g}"))
