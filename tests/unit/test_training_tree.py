"""Prefix trees keep every sequence whole and every shared prefix once."""

from hypothesis import given
from hypothesis import strategies as st

from loop.training.tree import common_prefix, grow

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=6)


@given(SEQUENCES)
def test_each_path_spells_its_sequence_at_the_right_depths(sequences):
    tree = grow(sequences)
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert tuple(tree.tokens[node] for node in path) == sequence
        assert [tree.depths[node] for node in path] == list(range(len(sequence)))


@given(SEQUENCES)
def test_every_distinct_prefix_is_one_node(sequences):
    prefixes = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert len(grow(sequences).tokens) == len(prefixes)


@given(SEQUENCES)
def test_a_node_sees_exactly_its_own_prefix(sequences):
    tree = grow(sequences)
    for path in tree.paths:
        for depth, node in enumerate(path):
            seen = [other for other in range(len(tree.tokens)) if other <= node < tree.ends[other]]
            assert seen == list(path[: depth + 1])


def test_common_prefix_ends_at_the_first_difference_or_the_shorter_end():
    assert common_prefix((1, 2, 3), (1, 2, 4)) == 2
    assert common_prefix((1, 2), (1, 2, 3)) == 2
    assert common_prefix((), (1,)) == 0
