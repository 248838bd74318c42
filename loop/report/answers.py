"""Held-out answers for people to read: each pair of answers beside what the user wanted, which explains the scores."""

from collections.abc import Iterator, Mapping, Sequence

from loop.report.page import Card, Cards, Tone

ANSWERS_SHOWN = 12
TEXTS_SHOWN = 2
"""Most of a user's newest answers that are shown as wanted, and as rejected."""
CHECKS_SHOWN = 8
LONGEST = 2_000
"""Most characters of one text: a page is read, not searched."""

Answer = Mapping[str, object]
"""Fields item_id, prompt, champion_answer, candidate_answer, champion_score and candidate_score; wanted, rejected and
checks are lists of texts that nights before 0.2 did not keep."""


def answer_cards(answers: Sequence[Answer]) -> Cards:
    """Cards of the largest losses, then the largest gains, half of each where there are enough."""
    better = sorted((answer for answer in answers if _change(answer) > 0), key=_change, reverse=True)
    worse = sorted((answer for answer in answers if _change(answer) < 0), key=_change)
    half = ANSWERS_SHOWN // 2
    # Losses first, because they are to be read first; either side fills what the other leaves free.
    losses = worse[: max(half, ANSWERS_SHOWN - len(better))]
    gains = better[: ANSWERS_SHOWN - len(losses)]
    equal = [answer for answer in answers if _change(answer) == 0][: ANSWERS_SHOWN - len(losses) - len(gains)]
    note = (
        f"Of {len(answers)} held-out items {len(worse)} got worse and {len(better)} better; the largest losses stand "
        "first, then the largest gains. A score is 1 where an answer is what the user wanted and 0 where it has "
        "nothing of it."
    )
    return Cards("Answers before and after", [_card(answer) for answer in losses + gains + equal], note)


def _card(answer: Answer) -> Card:
    texts: list[tuple[str, str, Tone]] = []
    texts += [("The user wrote, chose or approved", text, "good") for text in _texts(answer, "wanted")]
    texts += [("The user rejected", text, "bad") for text in _texts(answer, "rejected")]
    checks = list(_texts(answer, "checks", CHECKS_SHOWN))
    if checks:
        texts.append(("The application checks", "\n".join(checks), "good"))
    change = _change(answer)
    tone: Tone = "good" if change > 0 else "bad" if change < 0 else "plain"
    texts.append((f"Champion, score {_score(answer, 'champion')}", _clipped(answer["champion_answer"]), "plain"))
    texts.append((f"Candidate, score {_score(answer, 'candidate')}", _clipped(answer["candidate_answer"]), tone))
    return Card(_clipped(answer["prompt"]), texts)


def _texts(answer: Answer, name: str, most: int = TEXTS_SHOWN) -> Iterator[str]:
    """Newest texts of a field; none in answers of nights that did not keep it."""
    found = answer.get(name)
    if isinstance(found, list):
        yield from map(_clipped, found[-most:])


def _clipped(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} characters more)"


def _score(answer: Answer, who: str) -> str:
    score = answer[f"{who}_score"]
    return f"{score:.2f}" if isinstance(score, float | int) else "not taken"


def _change(answer: Answer) -> float:
    before, after = answer["champion_score"], answer["candidate_score"]
    if isinstance(before, float | int) and isinstance(after, float | int):
        return after - before
    return 0.0  # a score that was not taken is neither a loss nor a gain
