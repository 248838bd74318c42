"""Ids of evidence and decisions, taken from all that they say: a row that was altered no longer has its id.

Whoever may write to the database could write a fitting id as well. What that cannot change is the ledger, whose rows
are chained, and the adapters, whose bytes are compared with the ledger's and the decision's sha256.
"""

from dataclasses import fields
from typing import TYPE_CHECKING

from loop.canonical import digest
from loop.errors import IntegrityError
from loop.types import Decision, Evidence

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DIGITS = 20
DIGITS_OF_0_1 = 16
"""Ids of 0.1.0 are shorter, so that none of ours is taken for one, and taken from less."""


def evidence_id(evidence: Evidence) -> str:
    """Id that evidence with this content has; its own `evidence_id` is not looked at."""
    return _digest_without(evidence, "evidence_id")


def decision_id(decision: Decision) -> str:
    """Id that a decision with this content has; its own `decision_id` is not looked at."""
    return _digest_without(decision, "decision_id")


def require_evidence(evidence: Evidence) -> None:
    """Raises IntegrityError when evidence was altered after it was collected."""
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
