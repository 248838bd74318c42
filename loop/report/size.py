"""Size of a training and the setting that ended it, in words, from its candidate's metrics."""

from collections.abc import Iterator, Mapping

from loop.alarms import what_ended

SHOWN = {"steps", "steps_planned", "skipped", "examples", "dropped", "truncated", "seconds", "budget_hit", "left_out"}
"""Metrics that `size` puts into words."""


def size(metrics: Mapping[str, float]) -> Iterator[tuple[str, object]]:
    """Names with their values; none for a training without these metrics."""
    if "steps_planned" in metrics:
        yield "steps", _steps(metrics)
    if "examples" in metrics:
        yield "examples trained on", f"{metrics['examples']:,.0f}"
    if metrics.get("dropped"):
        yield "examples left out", f"{metrics['dropped']:,.0f}, empty or longer than `max_tokens`"
    if metrics.get("left_out"):
        yield "oldest examples kept out", f"{metrics['left_out']:,.0f}, by `budget_tokens`"
    if metrics.get("truncated"):
        yield "examples shortened", f"{metrics['truncated']:,.0f}, their oldest turns were cut off to fit `max_tokens`"
    if "seconds" in metrics:
        yield "time", f"{metrics['seconds'] / 60:.1f} minutes"


def others(metrics: Mapping[str, float]) -> str:
    """All other metrics by name and value, for readers who know them."""
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()) if name not in SHOWN)


def _steps(metrics: Mapping[str, float]) -> str:
    done, planned = metrics["steps"], metrics["steps_planned"]
    said = f"{done:.0f} of {planned:.0f}"
    if metrics.get("skipped"):
        said += f", {metrics['skipped']:.0f} of them left out because their gradient leapt or was no number"
    return f"{said}; cut short: to train on, raise {what_ended(metrics)}" if metrics.get("budget_hit") else said
