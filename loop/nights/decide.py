"""Stage 7: the gate's verdict on recorded evidence."""

from loop.errors import IntegrityError
from loop.identity import require_evidence
from loop.nights.parts import Parts
from loop.nights.versions import version_of
from loop.types import Candidate, Decision, Evidence


def decide_candidate(parts: Parts, evidence_id: str) -> Decision:
    """The gate's verdict on recorded evidence, written on the version's page in the registry.

    Raises IntegrityError when evidence, candidate and version are not about the same bytes.
    """
    from loop import gate

    # All that names the candidate's bytes has to agree before the gate's word is bound to them.
    evidence = parts.store.evidence(evidence_id)
    require_evidence(evidence)
    version = version_of(parts.registry, _judged(parts, evidence))
    decision = gate.decide(evidence, parts.settings.gate)
    parts.store.save_decision(decision)
    tags = {"verdict": decision.verdict, "decision_id": decision.decision_id}
    parts.registry.describe(version, gate.explain(decision), tags)
    return decision


def _judged(parts: Parts, evidence: Evidence) -> Candidate:
    """The candidate that the evidence is about. Raises IntegrityError when it has other bytes."""
    candidate = parts.store.candidate(evidence.candidate_id)
    if candidate.adapter_sha256 != evidence.candidate_sha256:
        raise IntegrityError(
            f"evidence {evidence.evidence_id} is about other bytes than candidate {candidate.candidate_id} has",
            f"judge it again: nightshift evaluate {candidate.candidate_id}",
        )
    return candidate
