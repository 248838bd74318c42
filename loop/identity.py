"""Ids of evidence and decisions, digests of their whole content: a row that was altered no longer has its id.

Somebody who may write to the database could write a fitting id as well, but could not change the ledger, whose rows are
chained, nor the adapters, whose bytes are compared with the sha256 in ledger and decision.
"""

from dataclasses import fields
from typing import TYPE_CHECKING

from loop.errors import IntegrityError
from loop.hashing import digest
from loop.types import Decision, Evidence

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DIGITS = 20
DIGITS_OF_0_1 = 16
"""Length of an id of 0.1.0, a digest of fewer fields; today's ids are longer, so none is taken for the other."""


def evidence_id(evidence: Evidence) -> str:
    """Id of evidence with this content, whatever its own `evidence_id` is."""
    return _digest_without(evidence, "evidence_id")


def decision_id(decision: Decision) -> str:
    """Id of a decision with this content, whatever its own `decision_id` is."""
    return _digest_without(decision, "decision_id")


def require_evidence(evidence: Evidence) -> None:
    """Raises IntegrityError when evidence was altered after it was collected."""
    # Homes of 0.1.0 go on: what was collected there has an id of the old kind.
    if evidence.evidence_id not in {evidence_id(evidence), _evidence_id_of_0_1(evidence)}:
        raise IntegrityError(
            f"evidence {evidence.evidence_id} was altered after it was collected",
            f"collect it again: nightshift evaluate {evidence.candidate_id}",
        )


def require_decision(decision: Decision) -> None:
    """Raises IntegrityError when a decision was altered after the gate made it."""
    if decision.decision_id not in {decision_id(decision), _decision_id_of_0_1(decision)}:
        raise IntegrityError(
            f"decision {decision.decision_id} was altered after the gate made it",
            f"decide again: nightshift decide {decision.evidence_id}",
        )


def _digest_without(noun: "DataclassInstance", own: str) -> str:
    return digest({field.name: getattr(noun, field.name) for field in fields(noun) if field.name != own})[:DIGITS]


def _evidence_id_of_0_1(evidence: Evidence) -> str:
    content = {
        "candidate": evidence.candidate_sha256,
        "champion": evidence.champion_version,
        "anchor": evidence.anchor_version,
        "suites": evidence.suites,
    }
    return digest(content)[:DIGITS_OF_0_1]


def _decision_id_of_0_1(decision: Decision) -> str:
    content = {
        "evidence_id": decision.evidence_id,
        "verdict": decision.verdict,
        "reasons": decision.reasons,
        "tests": decision.tests,
    }
    return digest(content)[:DIGITS_OF_0_1]
