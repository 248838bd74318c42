"""Token ids of examples: the first stage of training, and the only one that sees text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from itertools import chain

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from loop.branches import spread
from loop.errors import TrainingError
from loop.models import fit, prompt_ids, readable, response_ids
from loop.settings import TrainingSettings
from loop.training.batch.credit import Credit, assign, balance
from loop.training.job import Job
from loop.types import Example, FeedbackKind, Objective

UNCHANGED = 0.05
"""NLL weight of the tokens of an edited answer that were there before the edit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A branch as token ids, ending in exactly one end-of-turn token."""

    ids: tuple[int, ...]
    nll_weights: tuple[float, ...]
    """Weight of each token in the mean that is the branch's NLL."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids, with the credit of its answers; the best answer comes first."""

    prompt: tuple[int, ...]
    answers: tuple[Answer, ...]
    credit: Credit

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
    """Examples whose prompt lost its oldest turns, or whose ranking lost answers."""
    dropped: int
    """Examples with an empty answer, two equal answers or no weight, or too long for `max_tokens`."""

    @property
    def probes(self) -> tuple[Encoded, Encoded]:
        """The examples of median and of largest size."""
        ordered = sorted(self.examples, key=lambda example: example.size)
        return ordered[len(ordered) // 2], ordered[-1]


def encoded(job: Job) -> Encoding:
    """The train split as token ids. Raises TrainingError when it has no example left."""
    with readable(job.base):
        tokenizer = AutoTokenizer.from_pretrained(job.base)
        fitting = _fitting_settings(job)
    encoding = encode(job.examples, tokenizer, fitting)
    if not encoding.examples:
        raise TrainingError(f"none of {len(job.examples)} examples can be trained on", _allow_longer(job, fitting))
    return encoding


def _fitting_settings(job: Job) -> TrainingSettings:
    """The job's settings, with `max_tokens` lowered to the positions of the base model."""
    config = AutoConfig.from_pretrained(job.base).get_text_config()
    positions = getattr(config, "max_position_embeddings", job.settings.max_tokens)
    return replace(job.settings, max_tokens=min(job.settings.max_tokens, positions))


def _allow_longer(job: Job, fitting: TrainingSettings) -> str:
    """Remedy where every example may have been too long."""
    allowed = "raise `max_tokens` under [training]"
    if fitting.max_tokens < job.settings.max_tokens:
        allowed = f"train a base model with more positions than {fitting.max_tokens:,} or send it shorter prompts"
    return f"{allowed}, or look into the snapshot for empty or equal answers"


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: TrainingSettings) -> Encoding:
    """Tokenise `examples` and assign their credits, whose weights are 1 on average."""
    encoded: list[Encoded] = []
    truncated = 0
    for example in examples:
        answers = _answers(example, tokenizer, settings)
        credit = assign(example, settings)
        # An example that has aged to no weight teaches nothing, and a batch of such would divide by 0.
        if not (_tells_something(answers) and credit.weight > 0):
            continue
        # Only the prompt is shortened, by whole turns: an answer is trained on whole or not at all.
        room = settings.max_tokens - max(len(answer.ids) for answer in answers)
        turns = fit(tokenizer, example.prompt, room)
        prompt = tuple(prompt_ids(tokenizer, turns))
        if len(prompt) > room:
            continue
        whole = Encoded(prompt, answers[: len(credit.scores)], credit)
        # A ranking is no larger than the largest pair may be: for its size alone no training fails.
        fitting = _shortened(whole, 2 * settings.max_tokens)
        truncated += len(turns) < len(example.prompt) or fitting is not whole
        encoded.append(fitting)
    balanced = zip(encoded, balance([each.credit for each in encoded]), strict=True)
    kept = tuple(replace(each, credit=credit) for each, credit in balanced)
    return Encoding(kept, truncated, len(examples) - len(encoded))


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


def _shortened(example: Encoded, most: int) -> Encoded:
    """`example` with fewer answers where a row for each takes more than `most` tokens; the first and the last stay."""
    width = max(map(len, example.sequences))
    places = spread(range(len(example.answers)), max(2, most // width))
    if len(places) == len(example.answers):
        return example
    return Encoded(
        example.prompt,
        tuple(example.answers[place] for place in places),
        replace(example.credit, scores=tuple(example.credit.scores[place] for place in places)),
    )


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
