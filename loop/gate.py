"""The gate: evidence to decision, as a pure function that fails closed and gives its reasons.

The candidate has to be better than the champion on every superiority suite, not worse by more than a margin on every
guard, and not behind the anchor. All tests must pass, so no level is corrected (an intersection-union test). A failed
test is *open* while its 95 % interval holds an effect that would pass if it were true and enough users were asked. When
all failures are open the verdict is UNDERPOWERED, otherwise REJECT.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from evals import stats
from evals.wording import NOTHING, count, effect, none, p_value, passed, points, signed
from loop.hashing import digest
from loop.identity import decision_id
from loop.settings import GateSettings
from loop.types import Decision, Evidence, PairedScore, SuiteEvidence, SuiteRole, TestResult, Verdict

GUARD_Z = 1.645
"""Critical value of a guard: its bound is one-sided at 5 %."""
ANCHOR_Z = 3.09
"""Critical value of the anchor, one-sided at 0.1 %: it is tested every night, and must not miss a slow decay."""

Opponent = Literal["champion", "anchor"]
Role = Literal["superiority", "guard", "anchor"]


def decide(evidence: Evidence, settings: GateSettings) -> Decision:
    """The verdict on a candidate; the same evidence always gives the same decision.

    HOLD when the evidence has gaps; REJECT when a test failed and nothing in its interval would pass; UNDERPOWERED when
    a part of each failed test's interval would pass, so that more users may still show it; PROMOTE when every test
    passed. The first reason is the decisive one.
    """
    # Faults first: a mean over the scores that happen to be there would look like a result.
    faults = tuple(_faults(evidence))
    if faults:
        return _decision(evidence, Verdict.HOLD, faults, ())
    tests = tuple(_tests(evidence, settings))
    verdict = _verdict(tests, settings)
    reasons = _reasons(verdict, tests, settings) + _left_out(evidence, settings)
    return _decision(evidence, verdict, tuple(reasons), tests)


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


def _faults(evidence: Evidence) -> list[str]:
    """Faults of the evidence, missing or contradictory, because of which no verdict can rest on it."""
    judged = _judged(evidence)
    faults = [] if any(s.role is SuiteRole.SUPERIORITY for s in judged) else ["there is no superiority suite"]
    # The base model, version 0, is the only one without an adapter.
    if (evidence.champion_version == 0) != (evidence.champion_sha256 is None):
        faults.append(f"the champion's version {evidence.champion_version} and its sha256 contradict each other")
    names = [suite.suite for suite in judged]
    faults += [f"suite {name} is in the evidence twice" for name in sorted(set(names)) if names.count(name) > 1]
    for suite in judged:
        faults += _suite_faults(suite, needs_anchor=_needs_anchor(evidence, suite))
    return faults


def _suite_faults(suite: SuiteEvidence, *, needs_anchor: bool) -> list[str]:
    opponents = ("candidate", "champion", "anchor") if needs_anchor else ("candidate", "champion")
    total, faults = len(suite.scores), []
    for name in opponents:
        missing = sum(not _usable(getattr(score, name)) for score in suite.scores)
        if missing:
            faults.append(f"{suite.suite}: {missing} of {total} {name} scores are missing or outside 0 to 1")
    repeated = total - len({score.item_id for score in suite.scores})
    if repeated:
        faults.append(f"{suite.suite}: {repeated} items are scored twice")
    return faults


def _usable(score: float | None) -> bool:
    return score is not None and 0.0 <= score <= 1.0


def _tests(evidence: Evidence, settings: GateSettings) -> list[TestResult]:
    tests = []
    for suite in _judged(evidence):
        if not suite.scores or _too_few(suite, settings):  # `_left_out` names it among the reasons
            continue
        match suite.role:
            case SuiteRole.SUPERIORITY:
                # Seeded by the evidence, so that its p is the same whenever and wherever it is judged.
                tests.append(_superiority(suite, settings, seed=int(digest(evidence.evidence_id)[:8], 16)))
            case SuiteRole.GUARD:
                tests.append(_non_inferiority(suite, "champion", settings.margin, settings.min_clusters))
            case SuiteRole.REPORT:
                pass
        if _needs_anchor(evidence, suite):
            tests.append(_non_inferiority(suite, "anchor", settings.anchor_margin, settings.min_clusters))
    return tests


def _superiority(suite: SuiteEvidence, settings: GateSettings, seed: int) -> TestResult:
    means, found = _paired(suite.scores, "champion")
    # Of users, not of items: the answers to one user are not independent voices.
    p_value = stats.sign_flip_p(means, seed)
    mde = stats.minimum_detectable_effect(found.standard_error, stats.critical_z(settings.alpha))
    passed = p_value <= settings.alpha and found.clusters >= settings.min_clusters
    return _result(suite.suite, "superiority", found, p_value, mde, passed=passed)


def _non_inferiority(suite: SuiteEvidence, opponent: Opponent, margin: float, min_clusters: int) -> TestResult:
    _, found = _paired(suite.scores, opponent)
    anchored = opponent == "anchor"
    z = ANCHOR_Z if anchored else GUARD_Z
    mde = stats.minimum_detectable_effect(found.standard_error, z)
    passed = stats.non_inferior(found, margin, z) and found.clusters >= min_clusters
    name = f"{suite.suite} against the anchor" if anchored else suite.suite
    return _result(name, "anchor" if anchored else "guard", found, None, mde, passed=passed)


def _paired(scores: Sequence[PairedScore], opponent: Opponent) -> tuple[stats.Floats, stats.Estimate]:
    """Means of the differences by user, and their estimate; no score is missing, after `_faults`."""
    others = (score.champion if opponent == "champion" else score.anchor for score in scores)
    differences = [(score.candidate or 0.0) - (other or 0.0) for score, other in zip(scores, others, strict=True)]
    means = stats.cluster_means(differences, [score.cluster for score in scores])
    return means, stats.estimate(means, len(scores))


def _result(
    name: str, role: Role, found: stats.Estimate, p_value: float | None, mde: float, *, passed: bool
) -> TestResult:
    return TestResult(
        name=name,
        role=role,
        items=found.items,
        clusters=found.clusters,
        effect=found.mean,
        low=found.low,
        high=found.high,
        p_value=p_value,
        mde=mde,
        passed=passed,
    )


def _verdict(tests: Sequence[TestResult], settings: GateSettings) -> Verdict:
    failed = [test for test in tests if not test.passed]
    # A settled failure rejects, whatever more users would say of the open ones.
    if any(not _open(test, settings) for test in failed):
        return Verdict.REJECT
    # Without a superiority test, all guards may have passed, but nothing has shown a gain.
    if failed or not any(test.role == "superiority" for test in tests):
        return Verdict.UNDERPOWERED
    return Verdict.PROMOTE


def _open(test: TestResult, settings: GateSettings) -> bool:
    """Whether more users could still turn a failed test: its interval holds an effect that would pass."""
    # With enough users any gain passes the superiority test, and any loss below the margin passes the others.
    bar = 0.0 if test.role == "superiority" else -_margin(test, settings)
    return test.clusters < settings.min_clusters or test.high > bar + NOTHING


def _margin(test: TestResult, settings: GateSettings) -> float:
    return settings.anchor_margin if test.role == "anchor" else settings.margin


def _judged(evidence: Evidence) -> list[SuiteEvidence]:
    return [suite for suite in evidence.suites if _judges(suite.role)]


def _judges(role: SuiteRole) -> bool:
    match role:
        case SuiteRole.SUPERIORITY | SuiteRole.GUARD:
            return True
        case SuiteRole.REPORT:
            return False


def _needs_anchor(evidence: Evidence, suite: SuiteEvidence) -> bool:
    # An anchor that serves is the champion, which the superiority test compares with already.
    return suite.role is SuiteRole.SUPERIORITY and evidence.anchor_version != evidence.champion_version


def _too_few(suite: SuiteEvidence, settings: GateSettings) -> bool:
    # Guards alone: without the superiority suite nothing could show a gain.
    return suite.role is SuiteRole.GUARD and _users(suite) < settings.guards_from


def _users(suite: SuiteEvidence) -> int:
    return len({score.cluster for score in suite.scores})


def _left_out(evidence: Evidence, settings: GateSettings) -> list[str]:
    judged = _judged(evidence)
    nothing = "left out, no held-out user gave feedback that it can use"
    empty = [f"{suite.suite}: {nothing}" for suite in judged if not suite.scores]
    few = [suite for suite in judged if suite.scores and _too_few(suite, settings)]
    fewest = f"`guards_from` under [gate] asks for {settings.guards_from}"
    return empty + [f"{suite.suite}: left out, it has {count(_users(suite), 'user')}, {fewest}" for suite in few]


def _decision(
    evidence: Evidence, verdict: Verdict, reasons: tuple[str, ...], tests: tuple[TestResult, ...]
) -> Decision:
    decision = Decision(
        decision_id="",
        evidence_id=evidence.evidence_id,
        candidate_id=evidence.candidate_id,
        candidate_sha256=evidence.candidate_sha256,
        champion_version=evidence.champion_version,
        champion_sha256=evidence.champion_sha256,
        verdict=verdict,
        reasons=reasons,
        tests=tests,
    )
    return replace(decision, decision_id=decision_id(decision))


def _reasons(verdict: Verdict, tests: Sequence[TestResult], settings: GateSettings) -> list[str]:
    """Reasons against a promotion, settled failures first; or those for it, and what its tests could not see."""
    if verdict is not Verdict.PROMOTE:
        # False sorts first, so a settled failure, which is decisive, comes before the open ones.
        failed = sorted((test for test in tests if not test.passed), key=lambda test: _open(test, settings))
        return [_failure(test, settings) for test in failed]
    passed = [_success(test, settings) for test in tests]
    return passed + [_unseen(test) for test in tests if none(test.low, test.high)]


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
    if not _open(test, settings):
        return f"not better than the champion, {found}; the interval holds no gain"
    return f"cannot tell yet whether it is better than the champion, {found}; {_what_would(test, settings)}"


def _loss(test: TestResult, settings: GateSettings) -> str:
    found = f"{effect(test.effect, test.low, test.high)}, {_worst(test, settings)}"
    if not _open(test, settings):
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
    worst, allowed = signed(bound, -_margin(test, settings))
    return f"at worst {worst} points ({sure} sure), {allowed} allowed"


def _what_would(test: TestResult, settings: GateSettings) -> str:
    """Prospect of an open test: the number of users that it takes to see a difference of the margin's size."""
    margin, gain = _margin(test, settings), test.role == "superiority"
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
