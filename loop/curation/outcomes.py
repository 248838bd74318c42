"""Fifth step of curation: verdicts on several answers to one prompt become pairs or a ranking, which say more."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, product

from loop.branches import spread
from loop.counts import Count
from loop.curation.draft import MOST_RANKED, Draft, is_empty, joint, pair, ranked, splits_of
from loop.curation.kinds import KINDS
from loop.settings import CurationSettings
from loop.settings.constants import PAIRS_PER_PROMPT
from loop.types import Message, Objective

NEUTRAL = 0.5
"""Outcome between right and wrong answers."""


def pair_regenerated(drafts: Iterable[Draft]) -> list[Draft]:
    """Drafts with a pair of each regenerated answer and the first later one that was liked; without one it stays weak.

    A later answer is one to the same prompt, or to the same parent interaction, in the same conversation.
    """
    everything = list(drafts)
    liked = defaultdict(list)
    for draft in sorted(everything, key=_asked):
        if draft.objective is Objective.UNPAIRED and draft.branches[0].score > 0:
            liked[_conversation(draft)].append(draft)
    made = []
    for draft in everything:
        later = _later(draft, liked[_conversation(draft)])
        # The weight is that of the later verdict: the wish for another answer alone is worth little.
        made.append(_pair(later[0], draft, later[0].weight) if later else draft)
    return made


def compare_outcomes(drafts: Iterable[Draft], settings: CurationSettings) -> tuple[list[Draft], Counter[Count]]:
    """Correct and incorrect answers to one prompt as pairs or a ranking, within one split; other outcomes stay alone.

    Where outcomes have more than two values the answers are ranked by them. Otherwise a prompt makes at most
    `PAIRS_PER_PROMPT` pairs, spread over its distinct answers; a ranking has at most as many answers as these have.
    """
    rest, by_prompt = [], defaultdict(list)
    for draft in sorted(drafts, key=_asked):
        if KINDS[draft.signal].pairs_by_prompt and draft.objective is Objective.UNPAIRED:
            by_prompt[draft.interaction.tenant, splits_of(draft, settings), draft.prompt].append(draft)
        else:
            rest.append(draft)
    covered = 0
    for judged in by_prompt.values():
        compared, chosen = _compared(judged)
        said = {draft.branches[0].response for draft in chosen}
        alone = [draft for draft in judged if draft.branches[0].response not in said]
        # Other verdicts on an answer that is compared add nothing to it: they are counted and left out.
        covered += len(judged) - len(alone) - len({id(draft) for draft in chosen})
        rest += compared + alone
    return rest, Counter({Count.COVERED: covered})


def _compared(judged: Sequence[Draft]) -> tuple[list[Draft], list[Draft]]:
    """One ranking of the answers to a prompt, or pairs of them, and the drafts that are in it."""
    better, worse = _sides(judged)
    ordered = _in_order(better, worse)
    if ordered:
        return [_ranking(ordered)], ordered
    pairs = list(islice(_choices(better, worse), PAIRS_PER_PROMPT))
    made = [_pair(good, bad, min(good.weight, bad.weight)) for good, bad in pairs]
    return made, list(chain.from_iterable(pairs))  # a draft is in several pairs where answers are few


def _sides(judged: Sequence[Draft]) -> tuple[list[Draft], list[Draft]]:
    """The first draft of each distinct answer that was right, and of each that was wrong."""
    right: dict[Message, Draft] = {}
    wrong: dict[Message, Draft] = {}
    for draft in judged:
        side = right if draft.branches[0].score > 0 else wrong
        side.setdefault(draft.branches[0].response, draft)
    # A text that was both right and wrong would win against itself.
    contested = right.keys() & wrong.keys()
    better = [draft for text, draft in right.items() if text not in contested]
    return better, [draft for text, draft in wrong.items() if text not in contested]


def _in_order(better: Sequence[Draft], worse: Sequence[Draft]) -> list[Draft]:
    """At most `MOST_RANKED` drafts to be ranked, best first; none where pairs say as much."""
    nonempty = [draft for draft in chain(better, worse) if not is_empty(draft.branches[0].response)]
    ordered = sorted(nonempty, key=_outcome, reverse=True)
    values = sorted(set(map(_outcome, ordered)))
    if len(values) <= 2 or not values[0] < NEUTRAL < values[-1]:
        return []
    return list(spread(ordered, MOST_RANKED))


def _ranking(ordered: Sequence[Draft]) -> Draft:
    """The ranking of `ordered`: its scores are the outcomes on a scale of -1 to 1, times the smallest share of them.

    A draft has a share of its outcome where votes contradicted it, or where a conversation shared it.
    """
    scores = [2 * _outcome(draft) - 1 for draft in ordered]
    shares = [draft.weight / abs(score) for draft, score in zip(ordered, scores, strict=True)]
    share = min(1.0, *shares)
    return ranked(ordered, [share * score for score in scores])


def _outcome(draft: Draft) -> float:
    """The outcome, 0 to 1, that a draft was made from."""
    return min(1.0, max(0.0, draft.value))


def _choices(better: Sequence[Draft], worse: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """Pairs (better, worse) in turns: every answer of the longer list once, then each again with its next opponent."""
    few, many = sorted((len(better), len(worse)))
    for turn, n in product(range(few), range(many)):
        # The shorter list is shifted by one in each turn, so that no two turns repeat a pair.
        shift_better = turn if len(better) == few else 0
        yield better[(n + shift_better) % len(better)], worse[(n + turn - shift_better) % len(worse)]


def _later(draft: Draft, liked: Sequence[Draft]) -> list[Draft]:
    if not KINDS[draft.signal].asks_again or draft.branches[0].score > 0:
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


def _pair(better: Draft, worse: Draft, weight: float) -> Draft:
    branches = pair(better.branches[0].response, worse.branches[0].response, weight)
    return replace(joint(worse, (better, worse)), objective=Objective.PAIR, branches=branches)
