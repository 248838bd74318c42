"""Mean scores of candidate, champion and anchor on each suite, for people to read; the gate does not use them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evals import stats
from loop.types import PairedScore, SuiteEvidence, SuiteRole


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Mean scores of one suite, 0 to 1, with one voice per user, over the items on which both models have a score."""

    suite: str
    suite_sha256: str
    role: SuiteRole
    candidate: float
    champion: float
    anchor: float | None
    difference: stats.Estimate
    """Candidate minus champion, with its 95 % interval."""


def standings(suites: Sequence[SuiteEvidence]) -> Iterator[Standing]:
    """The standing of each suite that has scores, in order."""
    for suite in suites:
        scored = [s for s in suite.scores if s.candidate is not None and s.champion is not None]
        if not scored:
            continue
        candidate, champion = _by_user(scored, "candidate"), _by_user(scored, "champion")
        # The anchor answers the superiority suites only; a mean over fewer items could not be compared.
        anchored = all(score.anchor is not None for score in scored)
        yield Standing(
            suite=suite.suite,
            suite_sha256=suite.suite_sha256,
            role=suite.role,
            candidate=float(candidate.mean()),
            champion=float(champion.mean()),
            anchor=float(_by_user(scored, "anchor").mean()) if anchored else None,
            difference=stats.estimate(candidate - champion, len(scored)),
        )


def _by_user(scores: Sequence[PairedScore], name: str) -> stats.Floats:
    return stats.cluster_means([getattr(score, name) for score in scores], [score.cluster for score in scores])
