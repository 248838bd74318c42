"""Effects, p-values and counts as people read them: figures that differ never look equal."""

from loop.types import TestResult

MOST_DIGITS = 5
LEAST_P = 0.001
NOTHING = 1e-9
"""Size below which a difference of scores is rounding of float64."""


def effect(mean: float, low: float, high: float) -> str:
    """A mean difference of scores with its interval, e.g. `+1.8 points [-2.0, +5.6]`."""
    if none(low, high):
        return "no difference for anybody"
    shown = signed(mean, low, high)
    return f"{shown[0]} points [{shown[1]}, {shown[2]}]"


def none(low: float, high: float) -> bool:
    """Whether an interval is only 0, because no user's scores differ."""
    return max(abs(low), abs(high)) < NOTHING


def signed(*values: float) -> tuple[str, ...]:
    """Score differences in points, with signs, and with enough decimals that none looks like another or like 0."""
    digits = next((d for d in range(1, MOST_DIGITS) if _apart(values, d)), MOST_DIGITS)
    return tuple(f"{100 * value:+.{digits}f}" if abs(value) >= NOTHING else f"{0:.{digits}f}" for value in values)


def passed(test: TestResult) -> str:
    """The outcome of a test in words."""
    return "passed" if test.passed else "not passed"


def points(size: float) -> str:
    """The size of a difference, e.g. `2.0 points`."""
    return f"{signed(abs(size))[0].lstrip('+')} points"


def p_value(found: float, needed: float) -> str:
    """A p-value beside the level it has to reach, e.g. `p = 0.18`; tiny ones are `p < 0.001`."""
    if found < LEAST_P <= needed:
        return f"p < {LEAST_P}"
    # A p-value just above its level would be printed as the level itself, and the decision look wrong.
    digits = next((d for d in range(3, 9) if f"{found:.{d}g}" != f"{needed:.{d}g}"), 3)
    return f"p = {found:.{digits}g}"


def count(number: int, noun: str) -> str:
    """`1 user`, `3 users`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _apart(values: tuple[float, ...], digits: int) -> bool:
    different = {0.0}
    # Equal but for rounding may look equal.
    different.update(round(value, 9) for value in values)
    return len({f"{100 * value:+z.{digits}f}" for value in different}) == len(different)
