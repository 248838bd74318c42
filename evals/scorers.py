"""How good one answer is, from 0 to 1, by checks that need no judge: verifiers and distance to what users wrote."""

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
"""A pattern that takes longer on an answer did not match it."""
NUMBER = re.compile(r"(?<![\d.])-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|-?\.\d+")
JSON_STARTS = 64
"""Brackets tried as the beginning of the answer's JSON."""


def graded(item: Item, answer: str) -> float | None:
    """Mean of the item's verifiers and, where it has references, how far the answer comes from rejected to wanted.

    Graded on purpose: in the first nights nothing is wholly right yet although much is learnt. None when the item has
    nothing to be judged by.
    """
    parts = _checked(item, answer)
    if item.references:
        parts.append(corrected(item, answer))
    return sum(parts) / len(parts) if parts else None


def verified(item: Item, answer: str) -> float | None:
    """Mean of the item's verifiers alone; None without one that can be used."""
    parts = _checked(item, answer)
    return sum(parts) / len(parts) if parts else None


def corrected(item: Item, answer: str) -> float:
    """The share of the way from the rejected answers to a reference that `answer` goes, by `similarity`'s distance.

    What is no nearer to the reference than a rejected answer is worth 0, so that the few words a user changed count
    in full however long the text around them is. Plain similarity where nothing was rejected.
    """
    return max(_way(reference, item.rejected, answer) for reference in item.references)


def similarity(item: Item, answer: str) -> float:
    """1 minus the edit distance in characters over the longer text, to the nearest reference."""
    return max(_alike(answer, text) for text in item.references)


def check(verifier: Verifier, answer: str) -> float | None:
    """1 when the answer passes, else 0; None when the verifier itself is malformed, whatever the answer."""
    passed = CHECKS[verifier.kind](verifier.target, answer)
    return None if passed is None else float(passed)


def exact(target: str, answer: str) -> bool:
    """The same text, but for white space at both ends."""
    return answer.strip() == target.strip()


def numeric(target: str, answer: str) -> bool | None:
    """The last number of the answer is the last of the target: `1,234.50`, `#### 72` and `$18` are numbers."""
    wanted, got = _last_number(target), _last_number(answer)
    if wanted is None:
        return None
    return got is not None and math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-9)


def matches(target: str, answer: str) -> bool | None:
    """The pattern occurs in the answer."""
    try:
        return regex.search(target, answer, timeout=PATTERN_SECONDS) is not None
    except TimeoutError:
        return False
    except regex.error:
        return None


def fits_schema(target: str, answer: str) -> bool | None:
    """The first JSON object or array in the answer follows the JSON Schema; references to other documents fail it."""
    validator = _validator(target)
    if validator is None:
        return None
    try:
        value = next(_json_values(answer), None)
        return value is not None and validator.is_valid(value)
    except (Unresolvable, RecursionError):
        return False


def max_words(target: str, answer: str) -> bool | None:
    """At most so many words, and at least one."""
    return 0 < len(answer.split()) <= int(target) if target.strip().isdecimal() else None


CHECKS: Mapping[VerifierKind, Callable[[str, str], bool | None]] = {
    VerifierKind.EXACT: exact,
    VerifierKind.NUMERIC: numeric,
    VerifierKind.REGEX: matches,
    VerifierKind.JSON_SCHEMA: fits_schema,
    VerifierKind.MAX_WORDS: max_words,
}


def _way(reference: str, rejected: Sequence[str], answer: str) -> float:
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
    for start in [i for i, character in enumerate(answer) if character in "{["][:JSON_STARTS]:
        try:
            yield decoder.raw_decode(answer, start)[0]
        except (ValueError, RecursionError):
            continue


def _pattern(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:  # noqa: ANN401
    if isinstance(value, str) and not matches(pattern, value):
        yield ValidationError(f"does not match {pattern}")


TIMED: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


@cache
def _validator(schema: str) -> Draft202012Validator | None:
    """None for what is no JSON Schema."""
    try:
        parsed = json.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (ValueError, SchemaError, RecursionError):
        return None
    validator: Draft202012Validator = TIMED(parsed, registry=Registry())
    return validator
