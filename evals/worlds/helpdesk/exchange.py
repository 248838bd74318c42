"""The help desk's last step: requests, answers and reactions become the events that an application would emit."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from evals.worlds.helpdesk.reactions import Reaction, compare, react, thumb
from evals.worlds.helpdesk.requests import Request, requests
from evals.worlds.helpdesk.world import World
from loop.ports import Generation, Generator
from loop.types import Feedback, FeedbackKind, Interaction, Message, Sampling

SOURCE = "helpdesk"
TWICE_ANSWERED = {FeedbackKind.REGENERATE, FeedbackKind.COMPARISON}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything that a day leaves in the logs."""

    interactions: tuple[Interaction, ...]
    feedback: tuple[Feedback, ...]


def exchange(world: World, day: int, generator: Generator, *, served: str, sampling: Sampling) -> Traffic:
    """The traffic of a day: every request is answered once, and again where a reaction needs a second answer.

    `served` is the model's `name@version`. The seed of `sampling` is replaced by the day's, so the same world, day and
    generator leave the same traffic.
    """
    asked = requests(world, day)
    # Two seeds a day, and no seed twice: by the first seed, a second answer could be the first one again.
    first = _serve(asked, generator, served, replace(sampling, seed=2 * day), attempt=1)
    reacted: list[tuple[Reaction, Request, Interaction]] = []
    for request, shown in zip(asked, first, strict=True):
        reaction = react(world, request, shown.response.content)
        if reaction:
            reacted.append((reaction, request, shown))
    retried = [(reaction, request, shown) for reaction, request, shown in reacted if reaction.kind in TWICE_ANSWERED]
    again = [request for _, request, _ in retried]
    second = _serve(again, generator, served, replace(sampling, seed=2 * day + 1), attempt=2)
    # A comparison is no event yet: the user has to see the second answer first.
    feedback = [
        _event(reaction, shown) for reaction, _, shown in reacted if reaction.kind is not FeedbackKind.COMPARISON
    ]
    for (reaction, request, shown), other in zip(retried, second, strict=True):
        feedback += _afterthought(world, request, reaction.kind, shown, other)
    return Traffic(tuple(first + second), tuple(feedback))


def _serve(
    asked: Sequence[Request], generator: Generator, served: str, sampling: Sampling, attempt: int
) -> list[Interaction]:
    answers = generator.generate([request.messages for request in asked], sampling)
    return [
        _interaction(request, answer, served, sampling, attempt) for request, answer in zip(asked, answers, strict=True)
    ]


def _interaction(request: Request, answer: Generation, served: str, sampling: Sampling, attempt: int) -> Interaction:
    return Interaction(
        interaction_id=f"{request.request_id}-{attempt}",
        source=SOURCE,
        occurred_at=request.asked_at + timedelta(minutes=attempt - 1),
        conversation_id=request.request_id,
        messages=request.messages,
        response=Message("assistant", answer.text),
        model=served,
        user_key=request.user.key,
        sampling=sampling,
        token_logprobs=answer.logprobs,
        verifiers=request.verifiers,
    )


def _afterthought(
    world: World, request: Request, kind: FeedbackKind, first: Interaction, second: Interaction
) -> list[Feedback]:
    """Feedback after a second answer: the choice of a comparison, or perhaps a thumb after a regeneration."""
    if kind is FeedbackKind.COMPARISON:
        choice = compare(world, request, first.response.content, second.response.content)
        return [_event(choice, first, second)] if choice else []
    opinion = thumb(world, request, second.response.content)
    return [_event(opinion, second)] if opinion else []


def _event(reaction: Reaction, about: Interaction, other: Interaction | None = None) -> Feedback:
    return Feedback(
        feedback_id=f"{about.interaction_id}-{reaction.kind}",
        source=SOURCE,
        occurred_at=about.occurred_at + timedelta(minutes=5),
        interaction_id=about.interaction_id,
        kind=reaction.kind,
        value=reaction.value,
        text=reaction.text,
        other_interaction_id=other.interaction_id if other else None,
        user_key=about.user_key,
    )
