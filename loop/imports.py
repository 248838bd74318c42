"""Ways to import a heavy library sooner; what is imported stays the same."""

import gc
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection while the block runs, for seconds in which next to nothing becomes garbage.

    An import leaves all that it makes; what the collector looks through in vain meanwhile is a fifth of its time.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def postponed(names: Collection[str]) -> Iterator[None]:
    """Modules that the block imports are read when something of theirs is first used, if ever.

    For what a library imports for features that we never reach. One it does use is imported then as ever; one that is
    absent is as absent as ever.
    """
    finder = _Postponing(frozenset(names))
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Postponing:
    """Finds the modules of `names` as ever and has them loaded late."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
