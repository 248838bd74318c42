"""Stage 9: the night's page, and its run in the registry."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from loop.errors import NotFoundError
from loop.files import write_text
from loop.home import SHOWN_ANSWERS, STEPS, candidate_folder, docs_folder, job_folder, page, snapshot_folder
from loop.nights.parts import Parts
from loop.nights.versions import serving_version
from loop.ports import Records
from loop.report.run import run_note, run_tags, run_title
from loop.types import Decision, Json, Night, NightStatus


def write_report(parts: Parts, night: Night) -> Path:
    """Write the night's page under `<home>/nights/`, kept with the candidate's run in the registry, too.

    Nothing of a night follows it, so the page speaks of a night that has ended.
    """
    from loop import report

    # The night is saved as DONE only after this stage; its page must not show it as running.
    ended = night.ended()
    outputs, store = night.outputs, parts.store
    # A night skipped before it registered names another night's candidate, which it did not make.
    candidate = store.candidate(outputs.candidate_id) if outputs.version and outputs.candidate_id else None
    trained_in = job_folder(parts.home, candidate.job_id) if candidate else None
    decision = store.decision(outputs.decision_id) if outputs.decision_id else None
    folder = candidate_folder(parts.home, candidate.candidate_id) if candidate else None
    earlier = [earlier for earlier in store.nights() if earlier.night_id < night.night_id]
    text = report.render(
        report.NightReport(
            night=ended,
            model=parts.settings.model.name,
            snapshot=store.snapshot(outputs.snapshot_id) if outputs.snapshot_id else None,
            candidate=candidate,
            evidence=store.evidence(outputs.evidence_id) if outputs.evidence_id else None,
            decision=decision,
            version=outputs.version,
            steps=_read_steps(trained_in / STEPS) if trained_in else (),
            answers=_read_answers(folder / SHOWN_ANSWERS) if folder and decision else (),
            earlier=earlier,
            decisions=_decisions(store, earlier),
            rows=parts.ledger.entries(),
            serving=serving_version(parts),
        )
    )
    path = page(parts.home, night.night_id)
    write_text(path, text)
    record_night(parts, ended)
    return path


def record_night(parts: Parts, night: Night) -> None:
    """Describe a night's run in the registry: a name with its outcome, its reasons, snapshot, page and Data Docs."""
    outputs, store = night.outputs, parts.store
    decision = store.decision(outputs.decision_id) if outputs.decision_id else None
    kept = [(page(parts.home, night.night_id), "report")]
    with parts.registry.night_run(night.night_id, failed=night.status is NightStatus.FAILED) as run:
        run.name(run_title(night), run_note(night, decision), run_tags(night))
        if snapshot_id := outputs.snapshot_id:
            run.log_snapshot(store.snapshot(snapshot_id), snapshot_folder(parts.home, snapshot_id))
            kept.append((docs_folder(parts.home, snapshot_id), "data_docs"))
        for path, folder in kept:
            if path.exists():  # a night given up has no page, an early end no Data Docs
                run.log_artifacts(path, folder)


def _decisions(store: Records, nights: Sequence[Night]) -> Mapping[str, Decision]:
    """Decisions of `nights` by id, without those that the store no longer has."""
    found = {}
    for night in nights:
        with suppress(NotFoundError):
            decision = store.decision(night.outputs.decision_id or "")
            found[decision.decision_id] = decision
    return found


def _read_steps(path: Path) -> list[dict[str, float]]:
    """Metrics of every step; none of a job of 0.1.0, which kept them elsewhere."""
    if not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    # A resumed training writes the steps since its checkpoint again: the newest line of a step counts.
    newest = {line["step"]: line for line in lines}
    return list(newest.values())


def _read_answers(path: Path) -> list[dict[str, Json]]:
    """Answers of candidate and champion; none where the candidate's folder was removed since."""
    answers: list[dict[str, Json]] = json.loads(path.read_text()) if path.exists() else []
    return answers
