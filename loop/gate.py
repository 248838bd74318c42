"""Evidence becomes a decision here: a pure function that fails closed and says why.

The candidate has to be better than the champion on every superiority suite, not worse by more than a margin on every
guard, and not behind the anchor. All tests must pass, so no level is corrected (an intersection-union test). A failed
test is *open* while more evidence could still turn it: failures that are all open are UNDERPOWERED, any other REJECT.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from evals import stats
from loop.canonical import digest
from loop.identity import decision_id
from loop.settings import GateSettings
from loop.types import Decision, Evidence, PairedScore, SuiteEvidence, SuiteRole, TestResult, Verdict

GUARD_Z = 1.645
"""A guard's 5 % one-sided bound."""
ANCHOR_Z = 3.09
"""The anchor's 0.1 % one-sided bound: it is looked at every night, and slow decay must not slip through."""

Opponent = Literal["champion", "anchor"]
Role = Literal["superiority", "guard", "anchor"]


def decide(evidence: Evidence, settings: GateSettings) -> Decision:
    """The verdict on a candidate; the same evidence always gives the same decision.

    HOLD when the evidence has gaps; REJECT when a test failed and more evidence would not change that; UNDERPOWERED
    when it might; PROMOTE when every test passed.
    """
    faults = tuple(_faults(evidence))
    if faults:
        return _decision(evidence, Verdict.HOLD, faults, ())
    tests = tuple(_tests(evidence, settings))
    verdict = _verdict(tests, settings)
    return _decision(evidence, verdict, (*_left_out(evidence, settings), *_reasons(verdict, tests, settings)), tests)


def explain(decision: Decision) -> str:
    """The few lines a person reads: the verdict, the figures of each test, the reasons."""
    head = f"{decision.verdict}: candidate {decision.candidate_id} against version {decision.champion_version}"
    return "\n".join([head, "", *(f"- {line}" for line in (*map(figures, decision.tests), *decision.reasons))])


def figures(test: TestResult) -> str:
    """One test as a line: effect, interval, p, and how much it could see."""
    effect = f"{100 * test.effect:+z.1f} points [{100 * test.low:+z.1f}, {100 * test.high:+z.1f}]"
    p_value = "" if test.p_value is None else f", p = {test.p_value:.2g}"
    counts = f"{test.items} items of {test.clusters} users, detectable {100 * test.mde:.1f}"
    return f"{'passed' if test.passed else 'not passed'}: {test.role} {test.name} {effect}{p_value} ({counts})"


def _faults(evidence: Evidence) -> list[str]:
    """What is missing or contradictory, so that no verdict can rest on it."""
    judged = _judged(evidence)
    faults = [] if any(s.role is SuiteRole.SUPERIORITY for s in judged) else ["there is no superiority suite"]
    if (evidence.champion_version == 0) != (evidence.champion_sha256 is None):
        faults.append(f"the champion's version {evidence.champion_version} and its sha256 contradict each other")
    names = [suite.suite for suite in judged]
    faults += [f"suite {name} is in the evidence twice" for name in sorted(set(names)) if names.count(name) > 1]
    for suite in judged:
        faults += _suite_faults(suite, needs_anchor=_needs_anchor(evidence, suite))
    return faults


def _suite_faults(suite: SuiteEvidence, *, needs_anchor: bool) -> list[str]:
    opponents = ("candidate", "champion", "anchor") if needs_anchor else ("candidate", "champion")
    missing = {name: sum(not _usable(getattr(score, name)) for score in suite.scores) for name in opponents}
    total = len(suite.scores)
    faults = [
        f"{suite.suite}: {count} of {total} {name} scores are missing or outside 0 to 1"
        for name, count in missing.items()
        if count
    ]
    repeated = total - len({score.item_id for score in suite.scores})
    return [*faults, f"{suite.suite}: {repeated} items are scored twice"] if repeated else faults


def _usable(score: float | None) -> bool:
    return score is not None and 0.0 <= score <= 1.0


def _tests(evidence: Evidence, settings: GateSettings) -> list[TestResult]:
    tests = []
    for suite in _judged(evidence):
        if not suite.scores or _too_few(suite, settings):
            continue
        if suite.role is SuiteRole.SUPERIORITY:
            tests.append(_superiority(suite, settings, seed=int(digest(evidence.evidence_id)[:8], 16)))
        else:
            tests.append(_non_inferiority(suite, "champion", settings.margin, settings.min_clusters))
        if _needs_anchor(evidence, suite):
            tests.append(_non_inferiority(suite, "anchor", settings.anchor_margin, settings.min_clusters))
    return tests


def _superiority(suite: SuiteEvidence, settings: GateSettings, seed: int) -> TestResult:
    means, found = _paired(suite.scores, "champion")
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
    """Cluster means and their estimate; every score is there, `_faults` saw to that."""
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
    if any(not _open(test, settings) for test in failed):
        return Verdict.REJECT
    if failed or not any(test.role == "superiority" for test in tests):
        return Verdict.UNDERPOWERED
    return Verdict.PROMOTE


def _open(test: TestResult, settings: GateSettings) -> bool:
    """Whether more evidence could still turn a failed test.

    It could while its interval reaches what we hope for (a gain of one margin for superiority, a loss within the margin
    otherwise) and it had less than power .8 to see a difference of that size.
    """
    margin = _margin(test, settings)
    hoped = margin if test.role == "superiority" else -margin
    return test.clusters < settings.min_clusters or (test.high >= hoped and test.mde > margin)


def _margin(test: TestResult, settings: GateSettings) -> float:
    return settings.anchor_margin if test.role == "anchor" else settings.margin


def _judged(evidence: Evidence) -> list[SuiteEvidence]:
    return [suite for suite in evidence.suites if suite.role is not SuiteRole.REPORT]


def _needs_anchor(evidence: Evidence, suite: SuiteEvidence) -> bool:
    return suite.role is SuiteRole.SUPERIORITY and evidence.anchor_version != evidence.champion_version


def _too_few(suite: SuiteEvidence, settings: GateSettings) -> bool:
    return suite.role is SuiteRole.GUARD and _users(suite) < settings.guards_from


def _users(suite: SuiteEvidence) -> int:
    return len({score.cluster for score in suite.scores})


def _left_out(evidence: Evidence, settings: GateSettings) -> list[str]:
    judged = _judged(evidence)
    empty = [f"{suite.suite}: left out, it has no items" for suite in judged if not suite.scores]
    few = [suite for suite in judged if suite.scores and _too_few(suite, settings)]
    return empty + [f"{s.suite}: left out, {_users(s)} users are fewer than {settings.guards_from}" for s in few]


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
    """What stands in the way of a promotion, or a warning of what a promotion could not see."""
    if verdict is not Verdict.PROMOTE:
        return [_failure(test, settings) for test in tests if not test.passed]
    unseen = [_unseen(test) for test in tests if test.low == test.high == 0]
    return ["better than the champion, and nothing guarded got worse", *unseen]


def _failure(test: TestResult, settings: GateSettings) -> str:
    margin = _margin(test, settings)
    if test.clusters < settings.min_clusters:
        return f"{test.name}: {test.clusters} users say too little, {settings.min_clusters} are needed"
    if not _open(test, settings):
        return f"{test.name}: failed, and more evidence would not change that"
    if margin == 0:
        return f"{test.name}: cannot tell yet"
    users = math.ceil(test.clusters * (test.mde / margin) ** 2)
    return f"{test.name}: cannot tell yet; about {users} users would show a difference of {100 * margin:.1f} points"


def _unseen(test: TestResult) -> str:
    share = min(1.0, 3 / test.clusters)
    return f"{test.name}: no user saw a difference, so a loss for up to {share:.0%} of users cannot be excluded"
