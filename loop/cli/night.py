"""The verbs of the night: run, train, register, evaluate, decide, status, nights."""

from dataclasses import asdict
from datetime import datetime

import click

from loop.cli.data import as_of_option
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.types import Decision, Night, NightStatus, Verdict

FAILED, NOT_PROMOTED = 1, 3


@click.command(cls=Verb, access=Access.WRITES)
@as_of_option
@click.option("--abandon", metavar="REASON", default="", help="Give the interrupted night up and begin a new one.")
@click.pass_obj
def run(session: Session, as_of: datetime, abandon: str) -> None:
    """Run one night, or finish the interrupted one; exit 3 when nothing was promoted, 1 when training failed."""
    from loop.nightly import promoted
    from loop.nightly import run as run_night

    night = run_night(session.parts, as_of, abandon=abandon)
    session.show(
        _sentence(session, night),
        {
            "night_id": night.night_id,
            "status": night.status,
            "verdict": night.verdict,
            "reasons": night.reasons,
            "outputs": dict(night.outputs),
        },
    )
    if night.status is NightStatus.FAILED:
        raise SystemExit(FAILED)
    if not promoted(night):
        raise SystemExit(NOT_PROMOTED)


def _sentence(session: Session, night: Night) -> str:
    from loop.gate import explain
    from loop.types import Stage

    lines = [f"{night.night_id} {night.verdict or night.status.upper()}", *night.reasons]
    if Stage.DECIDE in night.outputs:
        lines.append(explain(session.store.decision(night.outputs[Stage.DECIDE])))
    if night.verdict is Verdict.PROMOTE and not session.settings.gate.promote:
        version, decision_id = night.outputs[Stage.REGISTER], night.outputs[Stage.DECIDE]
        lines.append(f"gate.promote is off: nightshift promote {version} --decision {decision_id}")
    return "\n".join([*lines, f"report: {night.outputs[Stage.REPORT]}"])


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("snapshot_id")
@click.option(
    "--from", "parent", type=click.IntRange(0), metavar="VERSION", help="Continue this version; 0 is the base."
)
@click.pass_obj
def train(session: Session, snapshot_id: str, parent: int | None) -> None:
    """Train a candidate from the champion, or from another version, on a snapshot and print its id."""
    from loop.steps import serving_version, train_candidate

    version = serving_version(session.parts) if parent is None else parent
    candidate = train_candidate(session.parts, snapshot_id, version)
    session.show(candidate.candidate_id, {"candidate_id": candidate.candidate_id, "metrics": dict(candidate.metrics)})


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("candidate_id")
@click.pass_obj
def register(session: Session, candidate_id: str) -> None:
    """Register a candidate in MLflow and print its version."""
    from loop.steps import register_candidate

    version = register_candidate(session.parts, candidate_id)
    session.show(str(version), {"version": version})


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("candidate_id")
@click.pass_obj
def evaluate(session: Session, candidate_id: str) -> None:
    """Let candidate, champion and anchor answer the held-out items and print the evidence id."""
    from loop.steps import evaluate_candidate, serving_version

    evidence = evaluate_candidate(session.parts, candidate_id, serving_version(session.parts))
    suites = {suite.suite: len(suite.scores) for suite in evidence.suites}
    session.show(evidence.evidence_id, {"evidence_id": evidence.evidence_id, "items": suites})


@click.command(cls=Verb, access=Access.WRITES)
@click.argument("evidence_id")
@click.pass_obj
def decide(session: Session, evidence_id: str) -> None:
    """Apply the gate to recorded evidence and print the decision; exit 3 unless it is PROMOTE."""
    from loop.gate import explain
    from loop.steps import decide_candidate

    decision: Decision = decide_candidate(session.parts, evidence_id)
    text = f"{decision.decision_id}\n{explain(decision)}"
    session.show(text, {"decision_id": decision.decision_id, "verdict": decision.verdict, "reasons": decision.reasons})
    if decision.verdict is not Verdict.PROMOTE:
        raise SystemExit(NOT_PROMOTED)


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
def status(session: Session) -> None:
    """What serves, what the last night did, how much feedback is stored."""
    from loop.promote import anchor, champion

    rows, model = session.ledger.entries(), session.settings.model.name
    serving, approved = champion(rows), anchor(rows)
    counts, nights = dict(session.store.counts()), session.store.nights()
    last = nights[-1] if nights else None
    session.show(
        "\n".join(
            [
                f"serving    {model}@{serving}{'  (the base model)' if serving == 0 else ''}",
                f"anchor     {model}@{approved}",
                f"last night {_one_line(last) if last else 'none yet'}",
                *(f"{count:10d} {table}" for table, count in counts.items()),
            ]
        ),
        {"champion": serving, "anchor": approved, "last_night": last and last.night_id, "counts": counts},
    )


@click.command(cls=Verb, access=Access.READS)
@click.pass_obj
def nights(session: Session) -> None:
    """Every night with its verdict, oldest first."""
    found = session.store.nights()
    session.show(
        "\n".join(_one_line(night) for night in found) or "none yet",
        {"nights": [asdict(night) for night in found]},
    )


def _one_line(night: Night) -> str:
    where = "" if night.finished_at else f"  unfinished after {list(night.outputs)[-1] if night.outputs else 'nothing'}"
    reasons = f"  {night.reasons[0]}" if night.reasons else ""
    return f"{night.night_id}  as of {night.as_of:%Y-%m-%d %H:%M}  {night.verdict or night.status}{where}{reasons}"


COMMANDS = (run, train, register, evaluate, decide, status, nights)
