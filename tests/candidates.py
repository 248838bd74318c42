"""Candidates with small adapters of their own, and decisions on them."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from loop.hashing import adapter_sha256
from loop.identity import decision_id
from loop.types import Candidate, Decision, Verdict

CONFIG = '{"r": 1}'


def make_candidate(folder: Path, candidate_id: str) -> Candidate:
    """A candidate with a small adapter of its own in `folder`."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(CONFIG)
    (folder / "adapter_model.safetensors").write_bytes(candidate_id.encode() * 100)
    (folder / "manifest.json").write_text(f'{{"candidate_id": "{candidate_id}"}}')
    return Candidate(
        candidate_id=candidate_id,
        job_id=f"job-{candidate_id}",
        snapshot_id="snapshot",
        parent_version=0,
        adapter_sha256=adapter_sha256(folder),
        parent_sha256=None,
        base_fingerprint="base",
        settings={},
        metrics={},
    )


def sha256_of(candidate_id: str) -> str:
    """Of the adapter that `make_candidate` makes under this name."""
    return sha256(CONFIG.encode() + candidate_id.encode() * 100).hexdigest()


def judged(
    candidate_id: str,
    *,
    champion: str | None,
    champion_version: int,
    verdict: Verdict = Verdict.PROMOTE,
    evidence_id: str = "evidence",
) -> Decision:
    """A decision on a candidate of `make_candidate` against another one; None is the base model."""
    decision = Decision(
        decision_id="",
        evidence_id=evidence_id,
        candidate_id=candidate_id,
        candidate_sha256=sha256_of(candidate_id),
        champion_version=champion_version,
        champion_sha256=champion and sha256_of(champion),
        verdict=verdict,
        reasons=(),
        tests=(),
    )
    return replace(decision, decision_id=decision_id(decision))
