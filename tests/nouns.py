"""Hypothesis strategies that draw the nouns of `loop.types` with every field filled in every way the wire lets in."""

from datetime import UTC
from typing import TypeVar

from hypothesis import strategies as st

from loop.types import (
    Candidate,
    DeadLetter,
    Decision,
    Evidence,
    Feedback,
    Interaction,
    Message,
    Night,
    PairedScore,
    Sampling,
    Snapshot,
    SuiteEvidence,
    TestResult,
    ToolCall,
)

Noun = TypeVar("Noun")


def storable(drawn: st.SearchStrategy[Noun]) -> st.SearchStrategy[Noun]:
    """Without NUL characters, which the wire contract refuses because PostgreSQL cannot hold them."""
    return drawn.filter(lambda noun: "\\x00" not in repr(noun))


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
numbers = st.floats(allow_nan=False)
finite = st.floats(allow_nan=False, allow_infinity=False)
times = st.datetimes(timezones=st.just(UTC))
json = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
metadata = st.dictionaries(text, json, max_size=3)
messages = st.builds(
    Message, content=text, tool_calls=st.lists(st.builds(ToolCall), max_size=2).map(tuple), tool_call_id=...
)
samplings = st.builds(Sampling, temperature=finite, top_p=finite, max_tokens=..., seed=...)
interactions = st.builds(
    Interaction,
    occurred_at=times,
    messages=st.lists(messages, max_size=3).map(tuple),
    response=messages,
    parent_id=...,
    aliases=...,
    user_key=...,
    tenant=...,
    sampling=st.none() | samplings,
    token_logprobs=st.none() | st.lists(finite, max_size=4).map(tuple),
    verifiers=...,
    metadata=metadata,
)
feedback = st.builds(
    Feedback,
    occurred_at=times,
    value=st.none() | finite,
    text=...,
    other_interaction_id=...,
    whole_conversation=...,
    revises=...,
    retracted=...,
    user_key=...,
    tenant=...,
    metadata=metadata,
)
dead_letters = st.builds(DeadLetter, letter_id=text, source=text, reason=text, position=st.integers(0, 2**63 - 1))
versions = st.integers(0, 2**31 - 1)
nights = st.builds(
    Night,
    as_of=times,
    champion_version=versions,
    settings=metadata,
    reasons=...,
    verdict=...,
    started_at=times,
    finished_at=st.none() | times,
)
counts = st.dictionaries(text, st.integers(), max_size=3)
snapshots = st.builds(Snapshot, as_of=times, counts=counts, curation=counts)
candidates = st.builds(
    Candidate, parent_version=versions, settings=metadata, metrics=st.dictionaries(text, numbers, max_size=3)
)
scores = st.builds(PairedScore, candidate=st.none() | numbers, champion=st.none() | numbers, anchor=st.none() | numbers)
suites = st.builds(SuiteEvidence, scores=st.lists(scores, max_size=3).map(tuple))
evidence = st.builds(
    Evidence, champion_version=versions, anchor_version=versions, suites=st.lists(suites, max_size=2).map(tuple)
)
tests = st.builds(TestResult, effect=numbers, low=numbers, high=numbers, p_value=st.none() | numbers, mde=numbers)
decisions = st.builds(Decision, champion_version=versions, tests=st.lists(tests, max_size=2).map(tuple))
