"""The page of a night, one self-contained HTML file: its verdict, the reasons, the data, and how to make it again.

The page is imported only when it is used: its sentences (`loop.report.outcomes`, `loop.report.glossary`) also serve
commands that have to answer at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loop.report.night import NightReport, render

__all__ = ["NightReport", "render"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("loop.report.night"), name)
