"""One night as one self-contained HTML page: the verdict, why, from what, and how to make it again."""

from loop.report.night import NightReport, render

__all__ = ["NightReport", "render"]
