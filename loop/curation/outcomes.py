"""Fifth step of curation: verdicts on several answers to one prompt become pairs, which say more than each alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, product

from loop.curation.draft import Draft, pair, splits_of
from loop.settings import CurationSettings
from loop.settings.constants import PAIRS_PER_PROMPT
from loop.types import FeedbackKind, Message, Objective


def pair_regenerated(drafts: Iterable[Draft]) -> list[Draft]:
    """Drafts with a pair of each regenerated answer and the first later one that was liked; without one it stays weak.

    A later answer is one to the same prompt, or to the same parent interaction, in the same conversation.
    """
    everything = list(drafts)
    liked = defaultdict(list)
    for draft in sorted(everything, key=_asked):
        if draft.objective is Objective.UNPAIRED and draft.branches[0].desirable:
            liked[_conversation(draft)].append(draft)
    made = []
    for draft in everything:
        later = _later(draft, liked[_conversation(draft)])
        # The weight is that of the later verdict: the wish for another answer alone is worth little.
        made.append(_pair(later[0], draft, later[0].branches[0].weight) if later else draft)
    return made


def pair_outcomes(drafts: Iterable[Draft], settings: CurationSettings) -> tuple[list[Draft], Counter[str]]:
    """Pairs of a correct and an incorrect answer to one prompt, within one split; outcomes in no pair stay as they are.

    A prompt makes at most `PAIRS_PER_PROMPT` pairs, spread over its distinct answers.
    """
    rest, by_prompt = [], defaultdict(list)
    for draft in sorted(drafts, key=_asked):
        if draft.signal is FeedbackKind.OUTCOME and draft.objective is Objective.UNPAIRED:
            by_prompt[draft.interaction.tenant, splits_of(draft, settings), draft.prompt].append(draft)
        else:
            rest.append(draft)
    covered = 0
    for judged in by_prompt.values():
        chosen = list(islice(_choices(judged), PAIRS_PER_PROMPT))
        paired = list(chain.from_iterable(chosen))  # a draft is in several pairs where answers are few
        said = {draft.branches[0].response for draft in paired}
        alone = [draft for draft in judged if draft.branches[0].response not in said]
        # Other verdicts on an answer that is in a pair add nothing to it: they are counted and left out.
        covered += len(judged) - len(alone) - len({id(draft) for draft in paired})
        rest += [_pair(better, worse, _lighter(better, worse)) for better, worse in chosen] + alone
    return rest, Counter(covered=covered)


def _choices(judged: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """Pairs (better, worse) in turns: every answer of the longer list once, then each again with its next opponent."""
    # A text that was both right and wrong would win against itself.
    contested = _texts(judged, desirable=True).keys() & _texts(judged, desirable=False).keys()
    better = [d for text, d in _texts(judged, desirable=True).items() if text not in contested]
    worse = [d for text, d in _texts(judged, desirable=False).items() if text not in contested]
    few, many = sorted((len(better), len(worse)))
    for turn, n in product(range(few), range(many)):
        # The shorter list is shifted by one in each turn, so that no two turns repeat a pair.
        shift_better = turn if len(better) == few else 0
        yield better[(n + shift_better) % len(better)], worse[(n + turn - shift_better) % len(worse)]


def _texts(judged: Sequence[Draft], *, desirable: bool) -> dict[Message, Draft]:
    """First draft of each distinct answer that has this verdict."""
    found: dict[Message, Draft] = {}
    for draft in judged:
        if draft.branches[0].desirable is desirable:
            found.setdefault(draft.branches[0].response, draft)
    return found


def _later(draft: Draft, liked: Sequence[Draft]) -> list[Draft]:
    if draft.signal is not FeedbackKind.REGENERATE or draft.branches[0].desirable:
        return []
    return [
        other
        for other in liked
        if other.interaction.occurred_at > draft.interaction.occurred_at
        and other.branches[0].response != draft.branches[0].response
        and _same_question(draft, other)
    ]


def _same_question(draft: Draft, other: Draft) -> bool:
    parents = draft.interaction.parent_id, other.interaction.parent_id
    return draft.prompt == other.prompt or (None not in parents and parents[0] == parents[1])


def _conversation(draft: Draft) -> tuple[str, str]:
    return draft.interaction.tenant, draft.interaction.conversation_id


def _asked(draft: Draft) -> tuple[object, ...]:
    interaction, response = draft.interaction, draft.branches[0].response
    return (
        interaction.occurred_at,
        interaction.interaction_id,
        len(draft.prompt),
        response.content,
        sorted(draft.event_ids),
    )


def _lighter(better: Draft, worse: Draft) -> float:
    return min(better.branches[0].weight, worse.branches[0].weight)


def _pair(better: Draft, worse: Draft, weight: float) -> Draft:
    return replace(
        worse,
        objective=Objective.PAIR,
        branches=pair(better.branches[0].response, worse.branches[0].response, weight),
        owners=better.owners | worse.owners,
        observed_at=max(better.observed_at, worse.observed_at),
        event_ids=better.event_ids | worse.event_ids,
    )
