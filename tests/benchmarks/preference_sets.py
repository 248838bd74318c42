"""The three kinds of preference data that training is measured on, as optimiser batches of token ids."""

import random
from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise, product

from transformers import PreTrainedTokenizerBase

from connectors.imports import read
from loop.models import prompt_ids, response_ids
from loop.training.batch.credit import Credit
from loop.training.batch.tokens import Answer, Encoded
from loop.training.batch.tree import grow
from loop.types import Feedback, Interaction, Message, Objective
from tests.conftest import DATA

Batches = Sequence[Sequence[Encoded]]
SECRET = b"benchmark"


def singles(tokenizer: PreTrainedTokenizerBase, count: int, batch: int = 8) -> Batches:
    """`count` batches of single-turn pairs: random prompts of 150 to 300 tokens, answers of 60 to 120."""
    draw = random.Random(0)

    def tokens(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw.randrange(10, len(tokenizer) - 10) for _ in range(draw.randint(low, high)))

    return [[_pair(tokens(150, 300), tokens(60, 120), tokens(60, 120)) for _ in range(batch)] for _ in range(count)]


def conversations(tokenizer: PreTrainedTokenizerBase, count: int, longest: int) -> Batches:
    """`count` tau-bench conversations, a batch each: every assistant turn as a pair with another trial's answer.

    Conversations of more than `longest` tokens are left out, so that every contestant sees the same whole ones.
    """
    trials: dict[object, list[tuple[Message, ...]]] = {}
    for event in read(DATA / "tau_bench" / "gpt-4o-airline.json", "tau-bench", secret=SECRET):
        if isinstance(event, Interaction):
            trials.setdefault(event.metadata["task_id"], []).append((*event.messages, event.response))
    both = [(one, other) for of_task in trials.values() for one, other in pairwise(of_task)]
    fitting = (pair for pair in both if len(prompt_ids(tokenizer, pair[0])) <= longest)
    return [list(_turns(tokenizer, one, other)) for one, other in islice(fitting, count)]


def solutions(tokenizer: PreTrainedTokenizerBase, count: int, questions: int = 4) -> Batches:
    """`count` batches of GSM8K questions with every pair of a right and a wrong one of their four answers."""
    answers: dict[str, tuple[tuple[Message, ...], list[Message], list[Message]]] = {}
    asked: dict[str, Interaction] = {}
    for event in read(DATA / "gsm8k" / "example_model_solutions.jsonl", "gsm8k", secret=SECRET):
        if isinstance(event, Interaction):
            asked[event.interaction_id] = event
        elif isinstance(event, Feedback):
            interaction = asked[event.interaction_id]
            question = answers.setdefault(interaction.messages[-1].content, (interaction.messages, [], []))
            question[1 if event.value else 2].append(interaction.response)
    pairs = [
        [
            _pair(prompt_ids(tokenizer, prompt), response_ids(tokenizer, good), response_ids(tokenizer, bad))
            for good, bad in product(right, wrong)
        ]
        for prompt, right, wrong in islice(
            (each for each in answers.values() if each[1] and each[2]), count * questions
        )
    ]
    return [list(chain(*pairs[start : start + questions])) for start in range(0, len(pairs), questions)]


def token_ratios(batches: Batches) -> dict[str, float]:
    """How much less a tree has to compute in `batches` than rows, without padding and with it."""
    sequences = [[sequence for example in batch for sequence in example.sequences] for batch in batches]
    tree = sum(len(grow(each).tokens) for each in sequences)
    return {
        "tokens_flat_to_tree": sum(map(len, chain(*sequences))) / tree,
        "tokens_padded_to_tree": sum(len(each) * max(map(len, each)) for each in sequences) / tree,
    }


def _turns(tokenizer: PreTrainedTokenizerBase, one: Sequence[Message], other: Sequence[Message]) -> Iterator[Encoded]:
    elsewhere = [message for message in other if message.role == "assistant"]
    answers = [place for place, message in enumerate(one) if message.role == "assistant"]
    for place, rejected in zip(answers, elsewhere, strict=False):
        ids = [tuple(response_ids(tokenizer, answer)) for answer in (one[place], rejected)]
        if ids[0] != ids[1]:
            yield _pair(prompt_ids(tokenizer, one[:place]), *ids)


def _pair(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> Encoded:
    answers = tuple(Answer(tuple(ids), (1.0,) * len(ids)) for ids in (chosen, rejected))
    return Encoded(tuple(prompt), answers, Credit(Objective.PAIR, (1.0, -1.0), weight=1.0, nll_share=0.0))
