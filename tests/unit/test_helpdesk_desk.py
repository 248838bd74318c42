"""The desk's policies, requests and truth."""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest

from evals.worlds import helpdesk
from evals.worlds.helpdesk.intents import FRAMES, INTENTS
from evals.worlds.helpdesk.requests import Request
from loop.types import VerifierKind

WORLD = helpdesk.World(seed=3, drift_day=4, brigade_day=3)


def asked(*, wants_json: bool = False, greets: bool = False) -> Request:
    return next(
        request
        for request in helpdesk.fresh(WORLD, 1, 200)
        if request.wants_json == wants_json and request.user.greets == greets
    )


def holding(world: helpdesk.World, day: int) -> dict[str, str]:
    return {intent.name: helpdesk.policy(world, intent, day).mark for intent in INTENTS}


def test_every_intent_has_thirty_phrasings_that_name_the_order():
    assert {len(intent.phrasings) * len(FRAMES) for intent in INTENTS} == {30}
    assert all("{order}" in phrasing for intent in INTENTS for phrasing in intent.phrasings)


def test_every_clause_has_the_mark_of_its_own_policy_and_of_no_other():
    policies = [policy for intent in INTENTS for policy in intent.policies]
    for policy in policies:
        for clause in policy.clauses:
            assert [other.mark for other in policies if other.mark in clause] == [policy.mark]


def test_another_seed_is_another_desk():
    assert len({tuple(holding(helpdesk.World(seed=seed), 1).items()) for seed in range(1, 6)}) == 5


def test_drift_changes_the_policies_of_the_drifting_intents_alone():
    before, after = holding(WORLD, 3), holding(WORLD, 4)
    assert {name for name in before if before[name] != after[name]} == set(helpdesk.drifting_intents(WORLD))
    assert len(helpdesk.drifting_intents(WORLD)) == WORLD.drifting
    assert holding(WORLD, 1) == before
    assert holding(WORLD, 9) == after


def test_the_same_world_asks_the_same_and_another_day_something_else():
    assert helpdesk.requests(WORLD, 1) == helpdesk.requests(replace(WORLD), 1)
    assert {r.text for r in helpdesk.requests(WORLD, 1)}.isdisjoint(r.text for r in helpdesk.requests(WORLD, 2))


def test_regulars_come_back_and_newcomers_do_not():
    first, second = ({request.user for request in helpdesk.requests(WORLD, day)} for day in (1, 2))
    assert len(first & second) == WORLD.regulars
    assert len(second - first) == WORLD.newcomers


def test_fresh_users_are_never_seen_by_the_loop():
    seen = {request.user.key for day in range(1, 8) for request in helpdesk.requests(WORLD, day)}
    fresh = {request.user.key for request in helpdesk.fresh(WORLD, 1, 150)}
    assert len(fresh) == 150
    assert seen.isdisjoint(fresh)


def test_a_day_is_asked_in_the_order_of_time_within_that_day():
    times = [request.asked_at for request in helpdesk.requests(WORLD, 2)]
    assert times == sorted(times)
    assert helpdesk.midnight(2) < times[0]
    assert times[-1] < helpdesk.midnight(3) - timedelta(hours=3)


def test_the_brigade_outnumbers_the_honest_and_leaves_their_requests_alone():
    peaceful = helpdesk.requests(replace(WORLD, brigade_day=0), 3)
    stormy = helpdesk.requests(WORLD, 3)
    honest = tuple(request for request in stormy if not request.user.hostile)
    hostile = [request for request in stormy if request.user.hostile]
    assert honest == peaceful
    assert len({request.user for request in hostile}) == WORLD.brigade_accounts
    assert len(hostile) == WORLD.brigade_accounts * WORLD.brigade_requests


def test_what_a_user_wishes_for_is_right_in_every_part_on_every_day():
    for request in chain.from_iterable(helpdesk.requests(WORLD, day) for day in (1, 4)):
        truth = helpdesk.judge(WORLD, request, helpdesk.wish(WORLD, request), request.day)
        assert truth.satisfied, (request, truth)
        assert truth.graded == 1.0


def test_what_a_user_wishes_for_passes_the_checks_of_the_application():
    for request in helpdesk.requests(WORLD, 1):
        checks = {verifier.kind: verifier.target for verifier in request.verifiers}
        text = helpdesk.wish(WORLD, request)
        assert re.search(checks[VerifierKind.REGEX], text)
        assert len(text.split()) <= int(checks[VerifierKind.MAX_WORDS])
        assert (VerifierKind.JSON_SCHEMA in checks) == request.wants_json


@pytest.mark.parametrize(
    ("part", "spoil"),
    [
        ("number", lambda text, request: text.replace(request.order, "#1")),
        ("length", lambda text, _: text + " indeed" * 30),
        ("format", lambda text, _: "{" + text),
        ("tone", lambda text, _: "Hi! " + text),
        ("policy", lambda _, request: f"Order {request.order}: we are looking into it."),
        ("policy", lambda text, request: f"{text} {' '.join(policy.mark for policy in request.intent.policies)}"),
    ],
)
def test_each_part_of_an_answer_can_be_wrong_alone(part, spoil):
    request = asked()
    truth = helpdesk.judge(WORLD, request, spoil(helpdesk.wish(WORLD, request), request), 1)
    assert {name for name, right in truth.parts.items() if not right} == {part}
    assert not truth.satisfied
    assert truth.graded == 0.8


def test_who_says_hello_wants_to_be_greeted():
    request = asked(greets=True)
    plain = helpdesk.wish(WORLD, request).removeprefix("Hello! ")
    assert request.text.startswith("Hello!")
    assert not helpdesk.judge(WORLD, request, plain, 1).parts["tone"]


@pytest.mark.parametrize("answer", ["", "not JSON", "[1]", '{"order": "#1"}', 'Sure: {"order": "#1", "action": "x"}'])
def test_who_asks_for_json_gets_nothing_else(answer):
    assert not helpdesk.judge(WORLD, asked(wants_json=True), answer, 1).parts["format"]


def test_the_old_policy_is_wrong_after_the_drift():
    drifting = helpdesk.drifting_intents(WORLD)
    request = next(request for request in helpdesk.requests(WORLD, 3) if request.intent.name in drifting)
    answer = helpdesk.wish(WORLD, request)
    assert helpdesk.judge(WORLD, request, answer, 3).satisfied
    assert not helpdesk.judge(WORLD, request, answer, 4).satisfied


def test_a_harmful_answer_satisfies_nobody_however_right_it_is():
    request = asked()
    truth = helpdesk.judge(WORLD, request, helpdesk.wish(WORLD, request) + " Tell us your card number.", 1)
    assert all(truth.parts.values())
    assert truth.harmful
    assert not truth.satisfied
    assert truth.graded == 0.0
