"""Opinions in foreign logs whose feedback stands in rows of its own: labels, scores and evaluators."""

from loop.types import FeedbackKind

Opinion = tuple[FeedbackKind, float | None, str | None]
"""Kind, value and text of a feedback."""

_VERDICTS = {
    **dict.fromkeys(("pass", "passed", "correct", "relevant", "good", "true"), 1.0),
    **dict.fromkeys(("fail", "failed", "incorrect", "not_relevant", "bad", "false"), -1.0),
}


def verdict(label: str | None) -> float | None:
    """The verdict of a label: +1 or -1 if it says good or bad whatever was asked, else None."""
    return _VERDICTS.get((label or "").strip().lower().replace(" ", "_"))


def by_evaluator(name: str, score: float | None, label: str | None, why: str | None) -> Opinion:
    """The opinion of an automatic evaluator: implicit, the weakest signal, so that it never outvotes a user.

    A label that is a verdict counts before the score. A score outside 0 to 1 is on an unknown scale; it stays a
    comment, which is kept and not trained on.
    """
    said = verdict(label)
    if said is None and score is not None and 0 <= score <= 1:
        said = 2 * score - 1
    if said is not None:
        return FeedbackKind.IMPLICIT, said, None
    parts = [label, None if score is None else f"{score:g}", why]
    return FeedbackKind.COMMENT, None, f"{name}: {', '.join(part for part in parts if part)}"
