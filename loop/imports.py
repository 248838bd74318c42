"""Ways to import a heavy library faster, without a change of what is imported."""

import gc
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection while the block runs, for imports, which leave next to no garbage.

    The collector would take a fifth of an import's time, in vain.
    """
    # A caller may have switched it off for itself.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def postponed(names: Collection[str]) -> Iterator[None]:
    """Modules of `names` that the block imports are loaded on first use, if ever.

    They are what a library imports for features that are never reached here. A module that is absent stays absent.
    """
    finder = _Postponing(frozenset(names))
    sys.meta_path.insert(0, finder)  # before Python's own finders, which would load the modules at once
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Postponing:
    """A finder that finds the modules of `names` as Python does, and has them loaded late."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
