"""Forward passes hold every example once, stay within their budget and repeat few tokens."""

from functools import partial
from itertools import combinations
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loop.training.batch.credit import Credit
from loop.training.batch.packs import cost, packs, padded
from loop.training.batch.tokens import Answer, Encoded
from loop.training.batch.tree import grow
from loop.types import Objective

FULL = 12
"""Small enough that these examples lie on both sides of it."""
TOKENS = st.lists(st.integers(0, 1), min_size=1, max_size=9).map(tuple)
PROMPTS = st.lists(TOKENS, min_size=1, max_size=9)


def example(prompt: tuple[int, ...], *answers: tuple[int, ...]) -> Encoded:
    made = tuple(Answer(ids, (1.0,) * len(ids)) for ids in answers or ((7,), (8,)))
    return Encoded(prompt, made, Credit(Objective.PAIR, (1.0, -1.0), weight=1.0, nll_share=0.0))


def nodes(examples: list[Encoded], group: list[int]) -> int:
    return len(grow([sequence for index in group for sequence in examples[index].sequences]).tokens)


@pytest.mark.parametrize("passes", [partial(packs, full=FULL), padded])
@given(PROMPTS, st.integers(1, 60))
def test_every_example_is_in_one_pass(passes, prompts, budget):
    examples = [example(prompt) for prompt in prompts]
    groups = passes(examples, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(examples)))


@given(PROMPTS, st.integers(1, 60))
def test_a_tree_stays_within_the_budget_unless_one_example_is_larger(prompts, budget):
    examples = [example(prompt) for prompt in prompts]
    for group in packs(examples, budget, FULL):
        assert len(group) == 1 or nodes(examples, group) <= budget


@given(PROMPTS, st.integers(1, 60))
def test_large_trees_come_first(prompts, budget):
    examples = [example(prompt) for prompt in prompts]
    sizes = [nodes(examples, group) for group in packs(examples, budget, FULL)]
    assert sizes == sorted(sizes, reverse=True)


@given(PROMPTS, st.integers(1, 60))
def test_padded_rows_stay_within_the_budget_unless_one_example_is_larger(prompts, budget):
    examples = [example(prompt, (7,), (8,) * len(prompt)) for prompt in prompts]
    for group in padded(examples, budget):
        sequences = [sequence for index in group for sequence in examples[index].sequences]
        assert len(group) == 1 or max(map(len, sequences)) * len(sequences) <= budget


@given(st.lists(TOKENS, min_size=1, max_size=7), st.integers(4, 40))
def test_no_other_cut_of_the_same_order_costs_less(prompts, budget):
    examples = [example(prompt) for prompt in sorted(prompts)]

    def total(groups: list[list[int]]) -> int:
        return sum(cost(nodes(examples, group), FULL) for group in groups)

    every = [
        [list(range(a, b)) for a, b in zip((0, *cuts), (*cuts, len(examples)), strict=True)]
        for count in range(len(examples))
        for cuts in combinations(range(1, len(examples)), count)
    ]
    allowed = [groups for groups in every if all(len(g) == 1 or nodes(examples, g) <= budget for g in groups)]
    assert total(packs(examples, budget, FULL)) == min(map(total, allowed))


def test_a_conversation_is_cut_where_little_is_repeated():
    turns = [tuple(range(30 * turn)) for turn in range(1, 9)]
    other = [(99, *range(30 * turn)) for turn in range(1, 3)]
    examples = [example(prompt) for prompt in [*turns, *other]]
    assert [sorted(group) for group in packs(examples, 260, full=256)] == [list(range(8)), [8, 9]]


def test_a_large_tree_is_cut_where_it_would_spare_little():
    system = tuple(range(20))
    questions = [(*system, *range(1_000 * n, 1_000 * n + 600)) for n in range(1, 5)]
    examples = [example(question) for question in questions for _ in range(3)]
    assert [sorted(group) for group in packs(examples, 4_096, full=256)] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9, 10, 11],
    ]


def test_on_a_device_that_is_never_full_passes_are_as_large_as_they_may_be():
    examples = [example(tuple(range(10_000 * n, 10_000 * n + 8_000))) for n in range(1, 9)]
    assert [len(group) for group in packs(examples, 65_536, full=65_536)] == [8]


def test_a_million_tokens_are_packed_in_seconds():
    examples = []
    for conversation in range(40):
        prompt: tuple[int, ...] = (conversation,)
        for turn in range(14):
            prompt += (turn,) * 240
            examples.append(example(prompt, (1,) * 60, (2,) * 60))
    assert sum(example.size for example in examples) > 1_000_000
    started = process_time()
    groups = packs(examples, 8_192, full=256)
    for group in groups:
        grow([sequence for index in group for sequence in examples[index].sequences])
    assert process_time() - started < 10
