"""Verdict on a candidate, from the evidence and the results of its tests.

The candidate has to be better than the champion on every superiority suite, not worse by more than a margin on every
guard, and not behind the anchor. All tests must pass, so no level is corrected (an intersection-union test). A failed
test is *open* while its 95 % interval holds an effect that would pass if it were true and enough users were asked. When
all failures are open the verdict is UNDERPOWERED, otherwise REJECT.
"""

from collections.abc import Sequence
from dataclasses import replace

from loop.gate.paired import is_open, judged, needs_anchor, run_tests
from loop.gate.reasons import left_out, reasons_for
from loop.identity import decision_id
from loop.settings import GateSettings
from loop.types import Decision, Evidence, SuiteEvidence, SuiteRole, TestResult, Verdict


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
    tests = tuple(run_tests(evidence, settings))
    verdict = _verdict(tests, settings)
    reasons = reasons_for(verdict, tests, settings) + left_out(evidence, settings)
    return _decision(evidence, verdict, tuple(reasons), tests)


def _faults(evidence: Evidence) -> list[str]:
    """Faults of the evidence, missing or contradictory, because of which no verdict can rest on it."""
    suites = judged(evidence)
    faults = [] if any(s.role is SuiteRole.SUPERIORITY for s in suites) else ["there is no superiority suite"]
    # The base model, version 0, is the only one without an adapter.
    if (evidence.champion_version == 0) != (evidence.champion_sha256 is None):
        faults.append(f"the champion's version {evidence.champion_version} and its sha256 contradict each other")
    names = [suite.suite for suite in suites]
    faults += [f"suite {name} is in the evidence twice" for name in sorted(set(names)) if names.count(name) > 1]
    for suite in suites:
        faults += _suite_faults(suite, needs_anchor=needs_anchor(evidence, suite))
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


def _verdict(tests: Sequence[TestResult], settings: GateSettings) -> Verdict:
    failed = [test for test in tests if not test.passed]
    # A settled failure rejects, whatever more users would say of the open ones.
    if any(not is_open(test, settings) for test in failed):
        return Verdict.REJECT
    # Without a superiority test, all guards may have passed, but nothing has shown a gain.
    if failed or not any(test.role == "superiority" for test in tests):
        return Verdict.UNDERPOWERED
    return Verdict.PROMOTE


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
