"""Decisions in words: the reasons that a decision gives, and the figures of its tests."""

import math
from collections.abc import Sequence

from evals import stats
from evals.wording import count, effect, none, p_value, passed, points, signed
from loop.gate.paired import ANCHOR_Z, GUARD_Z, is_open, judged, margin_of, too_few, users_of
from loop.settings import GateSettings
from loop.types import Decision, Evidence, TestResult, Verdict


def explain(decision: Decision) -> str:
    """The decision in a few lines for people: the verdict, the reasons, the figures of each test."""
    head = f"{decision.verdict}: candidate {decision.candidate_id} against version {decision.champion_version}"
    said = list(decision.reasons) + [figures(test) for test in decision.tests]
    return "\n".join([head, ""] + [f"- {line}" for line in said])


def figures(test: TestResult) -> str:
    """One test as a line: effect, interval, p and the smallest effect that it could detect."""
    found = effect(test.effect, test.low, test.high)
    p = "" if test.p_value is None else f", {p_value(test.p_value, needed=0.05)}"
    asked = f"{count(test.items, 'item')} of {count(test.clusters, 'user')}"
    asked += "" if none(test.low, test.high) else f", detectable {points(test.mde)}"
    return f"{passed(test)}: {test.name} ({test.role}), {found}{p} ({asked})"


def reasons_for(verdict: Verdict, tests: Sequence[TestResult], settings: GateSettings) -> list[str]:
    """Reasons against a promotion, settled failures first; or those for it, and what its tests could not see."""
    if verdict is not Verdict.PROMOTE:
        # False sorts first, so a settled failure, which is decisive, comes before the open ones.
        failed = sorted((test for test in tests if not test.passed), key=lambda test: is_open(test, settings))
        return [_failure(test, settings) for test in failed]
    passed = [_success(test, settings) for test in tests]
    return passed + [_unseen(test) for test in tests if none(test.low, test.high)]


def left_out(evidence: Evidence, settings: GateSettings) -> list[str]:
    """Lines for the suites that judge a candidate but have no users, or too few, to test it on."""
    suites = judged(evidence)
    nothing = "left out, no held-out user gave feedback that it can use"
    empty = [f"{suite.suite}: {nothing}" for suite in suites if not suite.scores]
    few = [suite for suite in suites if suite.scores and too_few(suite, settings)]
    fewest = f"`guards_from` under [gate] asks for {settings.guards_from}"
    return empty + [f"{suite.suite}: left out, it has {count(users_of(suite), 'user')}, {fewest}" for suite in few]


def _success(test: TestResult, settings: GateSettings) -> str:
    if test.p_value is not None:
        return f"{test.name}: better than the champion, {_gain(test, settings)}"
    return f"{test.name}: not worse than {_other(test)} by more than is allowed, {_worst(test, settings)}"


def _failure(test: TestResult, settings: GateSettings) -> str:
    if test.clusters < settings.min_clusters:
        users = f"{count(test.clusters, 'user')} cannot settle it, at least {settings.min_clusters} are needed"
        return f"{test.name}: {users} (`min_clusters`)"
    return f"{test.name}: {_no_gain(test, settings) if test.role == 'superiority' else _loss(test, settings)}"


def _no_gain(test: TestResult, settings: GateSettings) -> str:
    if none(test.low, test.high):
        return f"not better than the champion, {count(test.clusters, 'user')} saw no difference at all"
    found = _gain(test, settings)
    if not is_open(test, settings):
        return f"not better than the champion, {found}; the interval holds no gain"
    return f"cannot tell yet whether it is better than the champion, {found}; {_what_would(test, settings)}"


def _loss(test: TestResult, settings: GateSettings) -> str:
    found = f"{effect(test.effect, test.low, test.high)}, {_worst(test, settings)}"
    if not is_open(test, settings):
        return f"worse than {_other(test)} by more than is allowed, {found}"
    return f"cannot tell yet whether it is worse than {_other(test)}, {found}; {_what_would(test, settings)}"


def _gain(test: TestResult, settings: GateSettings) -> str:
    """Finding of a superiority test, and the level that it had to reach."""
    found = effect(test.effect, test.low, test.high)
    return f"{found}, {p_value(test.p_value or 0.0, settings.alpha)} where at most {settings.alpha:g} is needed"


def _worst(test: TestResult, settings: GateSettings) -> str:
    """The one-sided bound that decides a guard or the anchor's test, beside what is allowed."""
    # Not the end of the 95 % interval, which is two-sided. The standard error is mde / (z + POWER_Z), and no mean
    # difference of scores is below -1.
    z, sure = (ANCHOR_Z, "99.9 %") if test.role == "anchor" else (GUARD_Z, "95 %")
    bound = max(-1.0, test.effect - z * test.mde / (z + stats.POWER_Z))
    worst, allowed = signed(bound, -margin_of(test, settings))
    return f"at worst {worst} points ({sure} sure), {allowed} allowed"


def _what_would(test: TestResult, settings: GateSettings) -> str:
    """Prospect of an open test: the number of users that it takes to see a difference of the margin's size."""
    margin, gain = margin_of(test, settings), test.role == "superiority"
    if gain and test.high < margin:
        return f"a gain of {points(margin)} is ruled out, a smaller one is not"
    if margin == 0 or test.mde <= margin:
        return "more users may settle it"
    # The detectable effect falls with the root of the number of users.
    users = math.ceil(test.clusters * (test.mde / margin) ** 2)
    return f"about {users:,} users would probably {f'show a gain of {points(margin)}' if gain else 'settle it'}"


def _other(test: TestResult) -> str:
    return f"the {'anchor' if test.role == 'anchor' else 'champion'}"


def _unseen(test: TestResult) -> str:
    # Rule of three: what none of n users saw is, with 95 % confidence, seen by fewer than 3/n of all.
    share = min(1.0, 3 / test.clusters)
    return f"{test.name}: no user saw a difference, so a loss for up to {share:.0%} of users cannot be excluded"
