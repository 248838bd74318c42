"""Scores of one answer, from 0 to 1, by checks that need no judge: verifiers and the distance to users' own texts."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import regex
from jsonschema import Draft202012Validator, SchemaError, ValidationError
from jsonschema.validators import extend
from rapidfuzz.distance import Levenshtein
from referencing import Registry
from referencing.exceptions import Unresolvable

from evals.task import Item
from loop.types import Verifier, VerifierKind

PATTERN_SECONDS = 0.2
"""Seconds after which a pattern counts as not matching an answer."""
# A comma belongs to a number only between groups of three digits, and no number begins after another one's point.
NUMBER = re.compile(r"(?<![\d.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|-?\.\d+")
JSON_STARTS = 64
"""Number of brackets that are tried as the beginning of the answer's JSON."""


def graded(item: Item, answer: str) -> float | None:
    """Mean of the item's verifiers and, where it has references, of the way from rejected to wanted (`corrected`).

    Graded on purpose: in the first nights hardly any answer is fully right, although much is learnt. None when the item
    has nothing to be judged by.
    """
    parts = _checked(item, answer)
    if item.references:
        parts.append(corrected(item, answer))
    return sum(parts) / len(parts) if parts else None


def verified(item: Item, answer: str) -> float | None:
    """Mean of the item's verifiers alone; None without a usable one."""
    parts = _checked(item, answer)
    return sum(parts) / len(parts) if parts else None


def corrected(item: Item, answer: str) -> float:
    """Share of the way from the rejected answers to the nearest reference that `answer` covers, by edit distance.

    An answer that is no nearer to the reference than a rejected one is worth 0, so that the few words a user changed
    count in full however long the text around them is. Plain similarity where nothing was rejected.
    """
    return max(_share_of_way(reference, item.rejected, answer) for reference in item.references)


def similarity(item: Item, answer: str) -> float | None:
    """1 minus the edit distance in characters over the longer text, to the nearest reference; None without one."""
    return max((_alike(answer, text) for text in item.references), default=None)


def same_text(item: Item, answer: str) -> float | None:
    """1 when the answer is one of the references, but for white space at both ends, else 0; None without one."""
    return _passes(VerifierKind.EXACT, item, answer)


def same_number(item: Item, answer: str) -> float | None:
    """1 when the answer's last number is that of a reference, else 0; None without a reference that has a number."""
    return _passes(VerifierKind.NUMERIC, item, answer)


def check(verifier: Verifier, answer: str) -> float | None:
    """Result of a verifier: 1 when the answer passes, else 0; None when the verifier itself is malformed."""
    passed = CHECKS[verifier.kind](verifier.target, answer)
    return None if passed is None else float(passed)


def exact(target: str, answer: str) -> bool:
    """Whether answer and target are the same text, but for white space at both ends."""
    return answer.strip() == target.strip()


def numeric(target: str, answer: str) -> bool | None:
    """Whether the last number of the answer is that of the target, in texts like `1,234.50`, `#### 72` or `$18`."""
    wanted, got = _last_number(target), _last_number(answer)
    if wanted is None:
        return None
    return got is not None and math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-9)


def matches(target: str, answer: str) -> bool | None:
    """Whether the pattern occurs in the answer."""
    try:
        # `re` has no time limit, and a pattern that comes with an event may take for ever.
        return regex.search(target, answer, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        return False
    except regex.error:
        return None


def fits_schema(target: str, answer: str) -> bool | None:
    """Whether the first JSON object or array in the answer follows the schema; references to other documents fail."""
    validator = _validator(target)
    if validator is None:
        return None
    try:
        value = next(_json_values(answer), None)
        return value is not None and validator.is_valid(value)
    except (Unresolvable, RecursionError):
        return False


def max_words(target: str, answer: str) -> bool | None:
    """Whether the answer has at most so many words, and at least one."""
    return 0 < len(answer.split()) <= int(target) if target.strip().isdecimal() else None


CHECKS: Mapping[VerifierKind, Callable[[str, str], bool | None]] = {
    VerifierKind.EXACT: exact,
    VerifierKind.NUMERIC: numeric,
    VerifierKind.REGEX: matches,
    VerifierKind.JSON_SCHEMA: fits_schema,
    VerifierKind.MAX_WORDS: max_words,
}


def _passes(kind: VerifierKind, item: Item, answer: str) -> float | None:
    results = (check(Verifier(kind, reference), answer) for reference in item.references)
    return max((result for result in results if result is not None), default=None)


def _share_of_way(reference: str, rejected: Sequence[str], answer: str) -> float:
    # A text both rejected and wanted is no start of a way: the division below would be by 0.
    start = max((_alike(text, reference) for text in rejected if text.strip() != reference.strip()), default=0.0)
    return max(0.0, (_alike(answer, reference) - start) / (1.0 - start))


def _alike(one: str, other: str) -> float:
    return Levenshtein.normalized_similarity(one.strip(), other.strip())


def _checked(item: Item, answer: str) -> list[float]:
    results = (check(verifier, answer) for verifier in item.verifiers)
    return [result for result in results if result is not None]


def _last_number(text: str) -> float | None:
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def _json_values(answer: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    starts = [place for place, character in enumerate(answer) if character in "{["]
    # Limited, because an answer of brackets alone would be tried once for each of them.
    for start in starts[:JSON_STARTS]:
        try:
            yield decoder.raw_decode(answer, start)[0]
        # Deeply nested brackets exhaust the stack: they are an answer without JSON.
        except (ValueError, RecursionError):
            continue


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"does not match {pattern}")


# The validator's own `pattern` uses `re`, without a time limit.
TIMED: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def _validator(schema: str) -> Draft202012Validator | None:
    """The validator of a schema; None for a text that is no JSON Schema."""
    try:
        parsed = json.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (ValueError, SchemaError, RecursionError):
        return None
    # An empty registry, so that a schema from outside never makes this process fetch a document.
    validator: Draft202012Validator = TIMED(parsed, registry=Registry())
    return validator
