"""Token ids and loss weights of examples: the first stage of training, and the only one that sees text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import chain
from math import fsum

from transformers import PreTrainedTokenizerBase

from loop.models import fit, prompt_ids, response_ids
from loop.settings import TrainingSettings
from loop.settings.constants import CHOSEN_NLL, DESIRABLE_NLL
from loop.types import Branch, Example, FeedbackKind, Objective

UNCHANGED = 0.05
"""NLL weight of the tokens of an edited answer that were there before the edit."""
LARGEST_CLASS_WEIGHT = 4.0
"""Largest factor on the weight of a class of thumbs, so that a few of the rarer kind do not dominate a training."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A branch as token ids, ending in exactly one end-of-turn token."""

    ids: tuple[int, ...]
    nll_weights: tuple[float, ...]
    """Weight of each token in the mean that is the branch's NLL."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids, with its answers in the order of its branches."""

    objective: Objective
    prompt: tuple[int, ...]
    answers: tuple[Answer, ...]
    desirable: bool
    """Whether the user approved of the first answer; for unpaired examples."""
    weight: float
    """Weight of the example's loss; 1 on average over all examples encoded together."""
    nll_share: float
    """Coefficient of the first answer's NLL in the loss."""

    @property
    def sequences(self) -> tuple[tuple[int, ...], ...]:
        """Prompt and answer as one sequence, for each answer."""
        return tuple(self.prompt + answer.ids for answer in self.answers)

    @property
    def size(self) -> int:
        """Tokens of the prompt and all answers."""
        return len(self.prompt) + sum(len(answer.ids) for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Encoding:
    """Examples that can be trained on, and counts of those that were shortened or dropped."""

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
        # An example that has aged to no weight teaches nothing, and a batch of such would divide by 0.
        if not (_tells_something(answers) and example.branches[0].weight > 0):
            continue
        # Only the prompt is shortened, by whole turns: an answer is trained on whole or not at all.
        room = settings.max_tokens - max(len(answer.ids) for answer in answers)
        kept = fit(tokenizer, example.prompt, room)
        prompt = tuple(prompt_ids(tokenizer, kept))
        if len(prompt) > room:
            continue
        truncated += len(kept) < len(example.prompt)
        encoded.append(_encoded(example, prompt, answers, settings))
    return Encoding(_scaled(_balanced(encoded)), truncated, len(examples) - len(encoded))


def _answers(example: Example, tokenizer: PreTrainedTokenizerBase, settings: TrainingSettings) -> tuple[Answer, ...]:
    """The branches of `example` as token ids; of an edit only the changed tokens count fully in the NLL."""
    ids = [tuple(response_ids(tokenizer, branch.response)) for branch in example.branches]
    answers = tuple(Answer(branch, (1.0,) * len(branch)) for branch in ids)
    if not _is_edited_pair(example) or settings.edit.type == "demonstration":
        return answers
    edited = replace(answers[0], nll_weights=span_weights(before=ids[1], after=ids[0]))
    return tuple(chain([edited], answers[1:]))


def _is_edited_pair(example: Example) -> bool:
    return example.signal is FeedbackKind.EDIT and example.objective is Objective.PAIR


def _tells_something(answers: tuple[Answer, ...]) -> bool:
    """Whether no answer is empty, which is its end of turn alone, and no two answers are equal."""
    ids = [answer.ids for answer in answers]
    return all(len(branch) > 1 for branch in ids) and len(set(ids)) == len(ids)


def span_weights(before: Sequence[int], after: Sequence[int]) -> tuple[float, ...]:
    """NLL weights of `after`: 1 for tokens that the edit of `before` wrote or left after a deletion, else UNCHANGED."""
    weights = [UNCHANGED] * len(after)
    # autojunk would ignore the frequent tokens of answers of 200 tokens and more.
    for tag, _, _, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "delete":
            # A deletion wrote no token; the next one shows that the text goes on there. At the end there is none.
            weights[start : start + 1] = [1.0] * len(weights[start : start + 1])
        elif tag != "equal":
            weights[start:end] = [1.0] * (end - start)
    return tuple(weights)


def _encoded(
    example: Example, prompt: tuple[int, ...], answers: tuple[Answer, ...], settings: TrainingSettings
) -> Encoded:
    first = example.branches[0]
    # As a demonstration an edit is trained without the answer before it.
    alone = example.signal is FeedbackKind.EDIT and settings.edit.type == "demonstration"
    return Encoded(
        objective=Objective.DEMONSTRATION if alone else example.objective,
        prompt=prompt,
        answers=answers[:1] if alone else answers,
        desirable=first.desirable,
        weight=first.weight,
        nll_share=_nll_share(example, first),
    )


def _nll_share(example: Example, first: Branch) -> float:
    """Coefficient of the NLL of the first answer of `example`."""
    # An edit shows the wanted answer itself, so its NLL counts like a demonstration's.
    if example.objective is Objective.DEMONSTRATION or example.signal is FeedbackKind.EDIT:
        return 1.0
    if example.objective is Objective.PAIR:
        return CHOSEN_NLL
    return DESIRABLE_NLL if first.desirable else 0.0


def _scaled(encoded: Sequence[Encoded]) -> tuple[Encoded, ...]:
    """Examples with weights of 1 on average."""
    total = fsum(example.weight for example in encoded)
    return tuple(replace(example, weight=example.weight * len(encoded) / total) for example in encoded)


def _balanced(encoded: Sequence[Encoded]) -> tuple[Encoded, ...]:
    """Examples, of which the unpaired are weighted so that approval and disapproval count the same in all."""
    totals = {verdict: _class_weight(encoded, verdict) for verdict in (True, False)}
    if not all(totals.values()):
        return tuple(encoded)
    factors = {
        verdict: min(LARGEST_CLASS_WEIGHT, fsum(totals.values()) / (2 * total)) for verdict, total in totals.items()
    }
    return tuple(
        replace(e, weight=e.weight * factors[e.desirable]) if e.objective is Objective.UNPAIRED else e for e in encoded
    )


def _class_weight(encoded: Sequence[Encoded], verdict: bool) -> float:
    """Weight of all unpaired examples of one class, approval or disapproval."""
    return fsum(e.weight for e in encoded if e.objective is Objective.UNPAIRED and e.desirable is verdict)
