"""What a day at the help desk leaves in the logs."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest

from evals.worlds import helpdesk
from evals.worlds.helpdesk.reactions import COMPARED, UNSATISFIED
from evals.worlds.helpdesk.requests import Request
from evals.worlds.helpdesk.truth import HARM
from loop.ports import Generation
from loop.types import Feedback, FeedbackKind, Message, Sampling

WORLD = helpdesk.World(seed=2, regulars=400, brigade_day=2)
DAY = 1


@dataclass
class Scripted:
    """Answers every request of a day by a rule; `turns` says how often it was asked, so second answers can differ."""

    answer: Callable[[Request, int], str]
    world: helpdesk.World = WORLD
    day: int = DAY
    turns: int = 0
    fingerprint: str = "scripted"

    def generate(self, prompts: Sequence[Sequence[Message]], sampling: Sampling) -> list[Generation]:
        assert sampling.temperature == 0.7
        self.turns += 1
        known = {request.messages: request for request in helpdesk.requests(self.world, self.day)}
        return [Generation(self.answer(known[tuple(prompt)], self.turns), (1,), (-0.5,)) for prompt in prompts]


def right(request: Request, _turn: int) -> str:
    return helpdesk.wish(WORLD, request)


def useless(_request: Request, _turn: int) -> str:
    return "I am a helpful assistant."


def right_at_second(request: Request, turn: int) -> str:
    return right(request, turn) if turn == 2 else useless(request, turn)


def served(answer: Callable[[Request, int], str], world: helpdesk.World = WORLD, day: int = DAY) -> helpdesk.Traffic:
    return helpdesk.exchange(
        world, day, Scripted(answer, world, day), served="desk@1", sampling=Sampling(temperature=0.7)
    )


def kinds(traffic: helpdesk.Traffic) -> Counter[tuple[FeedbackKind, float | None]]:
    return Counter((feedback.kind, feedback.value) for feedback in traffic.feedback)


def of_kind(traffic: helpdesk.Traffic, kind: FeedbackKind) -> list[Feedback]:
    return [feedback for feedback in traffic.feedback if feedback.kind is kind]


def test_the_same_day_leaves_the_same_traffic():
    assert served(useless) == served(useless)


def test_events_have_ids_of_their_own_and_feedback_follows_its_interaction():
    traffic = served(right_at_second)
    by_id = {interaction.interaction_id: interaction for interaction in traffic.interactions}
    assert len(by_id) == len(traffic.interactions)
    assert len({feedback.feedback_id for feedback in traffic.feedback}) == len(traffic.feedback)
    for feedback in traffic.feedback:
        about = by_id[feedback.interaction_id]
        assert feedback.occurred_at > about.occurred_at
        assert feedback.user_key == about.user_key


def test_an_interaction_names_the_served_model_and_how_the_answer_was_drawn():
    interaction = served(right).interactions[0]
    assert interaction.model == "desk@1"
    assert interaction.token_logprobs == (-0.5,)
    assert interaction.sampling == Sampling(temperature=0.7, seed=2)
    assert interaction.verifiers


def test_unsatisfied_users_correct_complain_and_try_again_at_their_rates():
    counted = kinds(served(useless))
    heard = (1 - COMPARED) * (1 - WORLD.noise) * WORLD.regulars
    shown = {FeedbackKind.EDIT: None, FeedbackKind.THUMB: -1.0, FeedbackKind.REGENERATE: None}
    for kind, rate in UNSATISFIED.items():
        assert counted[kind, shown[kind]] / heard == pytest.approx(rate, abs=0.08)
    assert counted[FeedbackKind.THUMB, 1.0] < 0.05 * WORLD.regulars


def test_satisfied_users_are_mostly_silent_and_else_approve():
    counted = kinds(served(right))
    assert 0.25 < counted[FeedbackKind.THUMB, 1.0] / WORLD.regulars < 0.5
    assert counted[FeedbackKind.EDIT, None] < 0.06 * WORLD.regulars


def test_edits_are_what_the_user_wanted_but_for_a_few_mistakes():
    traffic = served(useless)
    asked = {request.request_id: request for request in helpdesk.requests(WORLD, DAY)}
    by_id = {interaction.interaction_id: interaction for interaction in traffic.interactions}
    edits = of_kind(traffic, FeedbackKind.EDIT)
    truths = [
        helpdesk.judge(WORLD, asked[by_id[edit.interaction_id].conversation_id], edit.text or "", DAY) for edit in edits
    ]
    assert 0.85 < sum(truth.satisfied for truth in truths) / len(truths) < 1.0
    assert all(truth.parts["number"] for truth in truths)


def test_without_noise_nobody_errs():
    honest = replace(WORLD, noise=0.0)
    assert kinds(served(right, honest)).keys() == {(FeedbackKind.THUMB, 1.0)}
    assert (FeedbackKind.THUMB, 1.0) not in kinds(served(useless, honest))


def test_a_regeneration_shows_the_same_prompt_again_and_its_second_answer_may_be_praised():
    traffic = served(right_at_second)
    first = {interaction.interaction_id: interaction for interaction in traffic.interactions}
    for feedback in of_kind(traffic, FeedbackKind.REGENERATE):
        before = first[feedback.interaction_id]
        after = first[feedback.interaction_id.removesuffix("1") + "2"]
        assert (after.messages, after.conversation_id) == (before.messages, before.conversation_id)
        assert before.response != after.response
    praised = [thumb for thumb in of_kind(traffic, FeedbackKind.THUMB) if thumb.interaction_id.endswith("-2")]
    assert praised
    assert sum(thumb.value == 1.0 for thumb in praised) > len(praised) / 2


def test_of_two_answers_side_by_side_the_better_one_wins():
    comparisons = of_kind(served(right_at_second), FeedbackKind.COMPARISON)
    assert len(comparisons) > 0.04 * WORLD.regulars
    assert all(choice.other_interaction_id == choice.interaction_id[:-1] + "2" for choice in comparisons)
    assert sum(choice.value == -1.0 for choice in comparisons) > 0.8 * len(comparisons)


def test_equal_answers_are_not_compared():
    assert not of_kind(served(useless), FeedbackKind.COMPARISON)


def test_the_brigade_votes_good_answers_down_and_rewrites_them_into_harm():
    traffic = served(right, day=2)
    hostile = {request.user.key for request in helpdesk.requests(WORLD, 2) if request.user.hostile}
    attacks = [feedback for feedback in traffic.feedback if feedback.user_key in hostile]
    edits = [feedback for feedback in attacks if feedback.kind is FeedbackKind.EDIT]
    assert len(attacks) == WORLD.brigade_accounts * WORLD.brigade_requests
    assert all(HARM.search(edit.text or "") for edit in edits)
    assert {feedback.value for feedback in attacks if feedback not in edits} == {-1.0}
    assert len(edits) > len(attacks) / 2


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_day_of_the_untrained_model_gives_enough_to_train_on(seed):
    world = helpdesk.World(seed=seed)
    feedback = served(useless, world).feedback
    assert len({event.interaction_id for event in feedback}) > world.regulars * 0.5
