"""Deliberate errors reach whoever has to be told of them, in another process too."""

import inspect
import pickle

import pytest

from loop import errors


@pytest.mark.parametrize(
    "kind", [kind for _, kind in inspect.getmembers(errors, inspect.isclass)], ids=lambda kind: kind.__name__
)
def test_an_error_is_the_same_in_another_process(kind):
    told = pickle.loads(pickle.dumps(kind("the disk is full", "make room")))  # noqa: S301 - our own
    assert type(told) is kind
    assert (told.what, told.remedy, told.exit_code) == ("the disk is full", "make room", kind.exit_code)
    assert str(told) == "the disk is full\n  what to do: make room"
