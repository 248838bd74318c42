"""Imports of openai/grade-school-math, which has two formats: the answers of models, and worked solutions."""

import re
from collections.abc import Iterator

from pydantic import ConfigDict, TypeAdapter

from connectors.imports.reading.lines import Line
from connectors.imports.reading.shapes import Shape, validate
from loop.errors import EventError
from loop.hashing import sha256_of
from loop.types import Event, Feedback, FeedbackKind, Interaction, Message, Verifier, VerifierKind

_SOURCE = "import/gsm8k"
_ANSWER = re.compile(r"(?:####|A:) *(-?[\d,]*\.?\d+)\s*$")


class _Attempt(Shape):
    is_correct: bool
    solution: str


class _Answers(Shape):
    # All other fields are the names of models, each with its attempt.
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Attempt]

    question: str
    ground_truth: str


class _Solution(Shape):
    question: str
    answer: str


_ANSWERS = TypeAdapter(_Answers)
_SOLUTION = TypeAdapter(_Solution)


def decode_answers(line: Line) -> Iterator[Event]:
    """One interaction per model, with the outcome 1 or 0; all answers to a question share its prompt and cluster."""
    answers = validate(_ANSWERS, line.raw)
    if not answers.__pydantic_extra__:
        raise EventError("no model answered the question", "give each model's `is_correct` and `solution`")
    for model, attempt in answers.__pydantic_extra__.items():
        interaction = _interaction(line, answers.question, attempt.solution, model, answers.ground_truth)
        yield interaction
        yield _feedback(line, interaction, FeedbackKind.OUTCOME, value=float(attempt.is_correct))


def decode_solution(line: Line) -> Iterator[Event]:
    """One interaction that a human answered, with the answer as its demonstration."""
    solution = validate(_SOLUTION, line.raw)
    interaction = _interaction(line, solution.question, solution.answer, "human", solution.answer)
    yield interaction
    yield _feedback(line, interaction, FeedbackKind.DEMONSTRATION, text=solution.answer)


def _interaction(line: Line, question: str, answer: str, model: str, truth: str) -> Interaction:
    interaction_id = f"{line.line_id}-{model}"
    return Interaction(
        interaction_id=interaction_id,
        source=_SOURCE,
        occurred_at=line.occurred_at,
        conversation_id=interaction_id,
        messages=(Message("user", question),),
        response=Message("assistant", answer),
        model=f"{model}@gsm8k",
        # The question stands in for the user, so that its answers are one cluster: all in training, or all held out.
        user_key=f"question-{sha256_of(question)[:32]}",
        verifiers=(Verifier(VerifierKind.NUMERIC, _number(truth)),),
    )


def _feedback(
    line: Line, interaction: Interaction, kind: FeedbackKind, *, value: float | None = None, text: str | None = None
) -> Feedback:
    return Feedback(
        feedback_id=f"{interaction.interaction_id}-{kind}",
        source=_SOURCE,
        occurred_at=line.observed_at,
        interaction_id=interaction.interaction_id,
        kind=kind,
        value=value,
        text=text,
        user_key=interaction.user_key,
    )


def _number(truth: str) -> str:
    answer = _ANSWER.search(truth)
    if answer is None:
        raise EventError("the true answer does not end in `#### number` or `A: number`", "correct the line")
    return answer[1].replace(",", "")
