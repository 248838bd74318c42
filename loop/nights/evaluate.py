"""Stage 6: candidate, champion and anchor answer the same held-out prompts."""

import json
from collections.abc import Iterator
from dataclasses import replace

from loop import candidates, promotion
from loop.curation import snapshot
from loop.files import write_text
from loop.home import ANSWERS, SHOWN_ANSWERS
from loop.identity import evidence_id
from loop.models import require_torch
from loop.nights.parts import Parts
from loop.nights.versions import load_adapter, load_version
from loop.types import Evidence, Split


def evaluate_candidate(parts: Parts, candidate_id: str, champion: int) -> Evidence:
    """Evidence of candidate, champion and anchor on the same items, in one process, each with its recorded bytes."""
    # Ids are looked up before torch is imported, so that a wrong one is told at once.
    candidate, entries = parts.store.candidate(candidate_id), parts.ledger.entries()
    require_torch()
    from evals.evidence import collect
    from evals.suites import held_out
    from evals.suites.own import own_suites

    parts.progress("evaluate", 0, 1, "begins")
    anchor = promotion.anchor(entries)
    adapter = candidates.adapter(parts.home, candidate)
    dev, vault = (snapshot.read(parts.home, candidate.snapshot_id, split) for split in (Split.DEV, Split.VAULT))
    suites = held_out(dev, vault, parts.settings.evaluation, parts.machine.max_pairs) + own_suites(parts.settings)
    judged, answers = collect(
        suites,
        candidate=load_adapter(parts.settings, adapter, parts.machine),
        champion=load_version(parts.settings, parts.registry, entries, champion, parts.machine),
        anchor=load_version(parts.settings, parts.registry, entries, anchor, parts.machine)
        if anchor != champion
        else None,
        cache=parts.home / ANSWERS,
        chunk=parts.machine.batch_prompts,
        progress=parts.progress,
    )
    evidence = Evidence(
        evidence_id="",
        candidate_id=candidate_id,
        candidate_sha256=candidate.adapter_sha256,
        champion_version=champion,
        champion_sha256=promotion.adapter_of(parts.registry, champion),
        anchor_version=anchor,
        anchor_sha256=promotion.adapter_of(parts.registry, anchor),
        suites=judged,
    )
    # The id is a digest of everything that the evidence says, the adapters' sha256 among it.
    evidence = replace(evidence, evidence_id=evidence_id(evidence))
    parts.store.save_evidence(evidence)
    with parts.registry.run(candidate.job_id) as run:
        run.log_metrics(dict(_scores(evidence)), 0)
    write_text(adapter / SHOWN_ANSWERS, json.dumps(answers))
    return evidence


def _scores(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Mean scores of every suite, under the names that the registry's pages show."""
    from evals.standings import standings

    for standing in standings(evidence.suites):
        yield f"{standing.suite}/candidate", standing.candidate
        yield f"{standing.suite}/champion", standing.champion
