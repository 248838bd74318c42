"""Fifth step of curation: verdicts on several answers to one prompt become pairs, which say more than each alone."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice, product

from loop.curation.draft import Draft, pair, splits_of
from loop.settings import CurationSettings
from loop.types import FeedbackKind, Message, Objective


def pair_regenerated(drafts: Iterable[Draft]) -> list[Draft]:
    """An answer somebody asked to have again loses against the first later one they liked; alone it stays weak.

    A later answer is one to the same prompt, or to the same parent interaction, in the same conversation.
    """
    everything = list(drafts)
    liked = defaultdict(list)
    for draft in sorted(everything, key=_asked):
        if draft.objective is Objective.UNPAIRED and draft.branches[0].desirable:
            liked[_conversation(draft)].append(draft)
    return [
        _pair(later[0], draft, later[0].branches[0].weight)
        if (later := _later(draft, liked[_conversation(draft)]))
        else draft
        for draft in everything
    ]


def pair_outcomes(drafts: Iterable[Draft], settings: CurationSettings) -> tuple[list[Draft], Counter[str]]:
    """Correct > incorrect answers to an identical prompt, within one split; outcomes in no pair stay as they are.

    At most `pairs_per_prompt` pairs, spread over the answers, whose texts are all distinct.
    """
    rest, by_prompt = [], defaultdict(list)
    for draft in sorted(drafts, key=_asked):
        if draft.signal is FeedbackKind.OUTCOME and draft.objective is Objective.UNPAIRED:
            by_prompt[draft.interaction.tenant, splits_of(draft, settings), draft.prompt].append(draft)
        else:
            rest.append(draft)
    covered = 0
    for judged in by_prompt.values():
        chosen = list(islice(_choices(judged), settings.pairs_per_prompt))
        said = {draft.branches[0].response for both in chosen for draft in both}
        alone = [draft for draft in judged if draft.branches[0].response not in said]
        covered += len(judged) - len(alone) - len({id(draft) for both in chosen for draft in both})
        rest += [_pair(better, worse, _lighter(better, worse)) for better, worse in chosen] + alone
    return rest, Counter(covered=covered)


def _choices(judged: Sequence[Draft]) -> Iterator[tuple[Draft, Draft]]:
    """(better, worse): every better answer once, then every one again with its next opponent, and so on."""
    contested = _texts(judged, desirable=True).keys() & _texts(judged, desirable=False).keys()
    better = [d for text, d in _texts(judged, desirable=True).items() if text not in contested]
    worse = [d for text, d in _texts(judged, desirable=False).items() if text not in contested]
    few, many = sorted((len(better), len(worse)))
    for turn, n in product(range(few), range(many)):
        shift_better = turn if len(better) == few else 0
        yield better[(n + shift_better) % len(better)], worse[(n + turn - shift_better) % len(worse)]


def _texts(judged: Sequence[Draft], *, desirable: bool) -> dict[Message, Draft]:
    """The first draft of each distinct answer with this verdict."""
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
