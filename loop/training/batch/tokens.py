"""Examples become token ids with loss weights: the first step of training, and the only one that sees text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from math import fsum

from transformers import PreTrainedTokenizerBase

from loop.models import fit, prompt_ids, response_ids
from loop.settings import TrainingSettings
from loop.types import Branch, Example, FeedbackKind, Objective

UNCHANGED = 0.05
"""NLL weight of an edited answer's tokens that were there before the edit."""
LARGEST_CLASS_WEIGHT = 4.0
"""A few thumbs of the rarer kind may not dominate a training."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A branch as token ids, ending in exactly one end-of-turn token."""

    ids: tuple[int, ...]
    nll_weights: tuple[float, ...]
    """Of each token in the mean that is the branch's NLL."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids; its answers stand in the order of its branches."""

    objective: Objective
    prompt: tuple[int, ...]
    answers: tuple[Answer, ...]
    desirable: bool
    """Of the first answer."""
    weight: float
    """Of the example's loss; 1 on average over all that were encoded together."""
    nll_share: float
    """Coefficient of the first answer's NLL."""

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Prompt and answer, once per answer."""
        return tuple(self.prompt + answer.ids for answer in self.answers)

    @property
    def size(self) -> int:
        """Tokens of the prompt and all answers."""
        return len(self.prompt) + sum(len(answer.ids) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Encoding:
    """What can be trained on, and how much could not."""

    examples: tuple[Encoded, ...]
    truncated: int
    """Examples whose prompt lost its oldest turns."""
    dropped: int
    """Examples with an empty answer, two equal answers or no weight, or too long for `max_tokens`."""


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: TrainingSettings) -> Encoding:
    """Tokenise `examples` and balance the classes of the unpaired ones; weights are 1 on average."""
    encoded: list[Encoded] = []
    truncated = 0
    for example in examples:
        answers = _answers(example, tokenizer, settings)
        if not (_tells_something(answers) and example.branches[0].weight > 0):
            continue
        room = settings.max_tokens - max(len(answer.ids) for answer in answers)
        kept = fit(tokenizer, example.prompt, room)
        prompt = tuple(prompt_ids(tokenizer, kept))
        if len(prompt) > room:
            continue
        truncated += len(kept) < len(example.prompt)
        encoded.append(_encoded(example, prompt, answers, settings))
    return Encoding(_scaled(_balanced(encoded)), truncated, len(examples) - len(encoded))


def _answers(example: Example, tokenizer: PreTrainedTokenizerBase, settings: TrainingSettings) -> tuple[Answer, ...]:
    ids = [tuple(response_ids(tokenizer, branch.response)) for branch in example.branches]
    answers = tuple(Answer(branch, (1.0,) * len(branch)) for branch in ids)
    if not _is_edited_pair(example) or settings.edits == "demonstration":
        return answers
    return (replace(answers[0], nll_weights=span_weights(before=ids[1], after=ids[0])), *answers[1:])


def _is_edited_pair(example: Example) -> bool:
    return example.signal is FeedbackKind.EDIT and example.objective is Objective.PAIR


def _tells_something(answers: tuple[Answer, ...]) -> bool:
    ids = [answer.ids for answer in answers]
    return all(len(branch) > 1 for branch in ids) and len(set(ids)) == len(ids)


def span_weights(before: Sequence[int], after: Sequence[int]) -> tuple[float, ...]:
    """1 for each token of `after` that an edit of `before` wrote or that follows what it deleted, else UNCHANGED."""
    weights = [UNCHANGED] * len(after)
    for tag, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "delete":
            weights[start : start + 1] = [1.0] * len(weights[start : start + 1])
        elif tag != "equal":
            weights[start:end] = [1.0] * (end - start)
    return tuple(weights)


def _encoded(
    example: Example, prompt: tuple[int, ...], answers: tuple[Answer, ...], settings: TrainingSettings
) -> Encoded:
    first = example.branches[0]
    alone = example.signal is FeedbackKind.EDIT and settings.edits == "demonstration"
    return Encoded(
        objective=Objective.DEMONSTRATION if alone else example.objective,
        prompt=prompt,
        answers=answers[:1] if alone else answers,
        desirable=first.desirable,
        weight=first.weight,
        nll_share=_nll_share(example, first, settings),
    )


def _nll_share(example: Example, first: Branch, settings: TrainingSettings) -> float:
    """An edit shows the wanted answer itself, so its NLL counts like a demonstration's."""
    if example.objective is Objective.DEMONSTRATION or example.signal is FeedbackKind.EDIT:
        return 1.0
    if example.objective is Objective.PAIR:
        return settings.chosen_nll
    return settings.desirable_nll if first.desirable else 0.0


def _scaled(encoded: Sequence[Encoded]) -> tuple[Encoded, ...]:
    total = fsum(example.weight for example in encoded)
    return tuple(replace(example, weight=example.weight * len(encoded) / total) for example in encoded)


def _balanced(encoded: Sequence[Encoded]) -> tuple[Encoded, ...]:
    """Unpaired examples weighted so that approval and disapproval count the same in all."""
    totals = {
        verdict: fsum(e.weight for e in encoded if e.objective is Objective.UNPAIRED and e.desirable is verdict)
        for verdict in (True, False)
    }
    if not all(totals.values()):
        return tuple(encoded)
    factors = {
        verdict: min(LARGEST_CLASS_WEIGHT, fsum(totals.values()) / (2 * total)) for verdict, total in totals.items()
    }
    return tuple(
        replace(e, weight=e.weight * factors[e.desirable]) if e.objective is Objective.UNPAIRED else e for e in encoded
    )
