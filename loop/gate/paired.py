"""Paired tests of a candidate: better than the champion, not worse than it on the guards, not behind the anchor."""

from collections.abc import Sequence
from typing import Literal

from evals import stats
from evals.wording import NOTHING
from loop.hashing import digest
from loop.settings import GateSettings
from loop.types import Evidence, PairedScore, SuiteEvidence, SuiteRole, TestResult

GUARD_Z = 1.645
"""Critical value of a guard: its bound is one-sided at 5 %."""
ANCHOR_Z = 3.09
"""Critical value of the anchor, one-sided at 0.1 %: it is tested every night, and must not miss a slow decay."""

Opponent = Literal["champion", "anchor"]
Role = Literal["superiority", "guard", "anchor"]


def run_tests(evidence: Evidence, settings: GateSettings) -> list[TestResult]:
    """The result of each test, in the order of the suites; suites without users or with too few have none."""
    tests = []
    for suite in judged(evidence):
        if not suite.scores or too_few(suite, settings):  # `left_out` names it among the reasons
            continue
        match suite.role:
            case SuiteRole.SUPERIORITY:
                # Seeded by the evidence, so that its p is the same whenever and wherever it is judged.
                tests.append(_superiority(suite, settings, seed=int(digest(evidence.evidence_id)[:8], 16)))
            case SuiteRole.GUARD:
                tests.append(_non_inferiority(suite, "champion", settings.margin, settings.min_clusters))
            case SuiteRole.REPORT:
                pass
        if needs_anchor(evidence, suite):
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


def judged(evidence: Evidence) -> list[SuiteEvidence]:
    """The suites that judge a candidate; the others are only reported."""
    return [suite for suite in evidence.suites if _judges(suite.role)]


def _judges(role: SuiteRole) -> bool:
    match role:
        case SuiteRole.SUPERIORITY | SuiteRole.GUARD:
            return True
        case SuiteRole.REPORT:
            return False


def needs_anchor(evidence: Evidence, suite: SuiteEvidence) -> bool:
    """Whether a suite is also tested against the anchor."""
    # An anchor that serves is the champion, which the superiority test compares with already.
    return suite.role is SuiteRole.SUPERIORITY and evidence.anchor_version != evidence.champion_version


def too_few(suite: SuiteEvidence, settings: GateSettings) -> bool:
    """Whether a guard has fewer users than the settings ask for."""
    # Guards alone: without the superiority suite nothing could show a gain.
    return suite.role is SuiteRole.GUARD and users_of(suite) < settings.guards_from


def users_of(suite: SuiteEvidence) -> int:
    """Number of users whose prompts a suite has."""
    return len({score.cluster for score in suite.scores})


def is_open(test: TestResult, settings: GateSettings) -> bool:
    """Whether more users could still turn a failed test: its interval holds an effect that would pass."""
    # With enough users any gain passes the superiority test, and any loss below the margin passes the others.
    bar = 0.0 if test.role == "superiority" else -margin_of(test, settings)
    return test.clusters < settings.min_clusters or test.high > bar + NOTHING


def margin_of(test: TestResult, settings: GateSettings) -> float:
    """Loss that a test allows, as a fraction of 1; for superiority, the gain that the settings look for."""
    return settings.anchor_margin if test.role == "anchor" else settings.margin
