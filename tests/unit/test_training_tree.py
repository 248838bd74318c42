"""Prefix trees keep every sequence whole and every shared prefix once."""

from hypothesis import given
from hypothesis import strategies as st

from loop.training.batch.tree import LONGEST, common_prefix, grow

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8).map(tuple), min_size=1, max_size=6)


@given(SEQUENCES)
def test_each_path_spells_its_sequence_at_the_right_depths(sequences):
    tree = grow(sequences)
    for index, sequence in enumerate(sequences):
        assert tuple(tree.tokens[node] for node in tree.nodes(index)) == sequence
        assert [tree.depths[node] for node in tree.nodes(index)] == list(range(len(sequence)))


@given(SEQUENCES)
def test_every_distinct_prefix_is_one_node(sequences):
    prefixes = {sequence[:end] for sequence in sequences for end in range(1, len(sequence) + 1)}
    assert len(grow(sequences).tokens) == len(prefixes)


@given(SEQUENCES)
def test_chains_lie_end_to_end_after_what_they_continue(sequences):
    tree = grow(sequences)
    assert [chain.start for chain in tree.chains] == [0, *(chain.end for chain in tree.chains)][:-1]
    assert all(len(chain) > 0 and chain.parent < index for index, chain in enumerate(tree.chains))


@given(SEQUENCES)
def test_a_node_is_seen_by_the_nodes_up_to_the_end_of_its_subtree(sequences):
    tree = grow(sequences)
    for node, end in enumerate(tree.ends):
        paths = (tree.nodes(index) for index in range(len(sequences)))
        below = {later for path in paths if node in path for later in path[path.index(node) :]}
        assert below == set(range(node, end))


def test_the_largest_branch_follows_its_trunk():
    tree = grow([(1, 2, 3), (1, 2, 4, 5, 6), (1, 2, 4, 5, 7)])
    assert tree.tokens[:4] + tree.tokens[-1:] == (1, 2, 4, 5, 3)
    assert [chain.parent for chain in tree.chains] == [-1, 0, 1, 1, 0]


def test_only_a_trunk_is_longer_than_a_mask_may_be_high():
    tree = grow([tuple(range(2 * LONGEST + 9)), (*range(LONGEST + 1), *range(9_000, 9_005 + 2 * LONGEST))])
    assert [len(chain) for chain in tree.chains] == [LONGEST + 1, LONGEST, LONGEST, 5, LONGEST, 8]
    assert tree.path(5) == [0, 4, 5]


def test_common_prefix_ends_at_the_first_difference_or_the_shorter_end():
    assert common_prefix((1, 2, 3), (1, 2, 4)) == 2
    assert common_prefix((1, 2), (1, 2, 3)) == 2
    assert common_prefix((), (1,)) == 0
