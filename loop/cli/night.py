"""The verbs of the night: run, train, register, evaluate, decide."""

from datetime import datetime

import click

from loop.cli.data import as_of_option
from loop.cli.session import Session
from loop.cli.verbs import Access, Verb
from loop.types import Night, NightStatus, Verdict

FAILED, NOT_PROMOTED = 1, 3


@click.command(cls=Verb, access=Access.NIGHT)
@as_of_option
@click.option("--abandon", metavar="REASON", default="", help="Give the interrupted night up and begin a new one.")
@click.pass_obj
def run(session: Session, as_of: datetime, abandon: str) -> None:
    """Run one night, or finish the interrupted one.

    Exit 0: a candidate was promoted; 3: none was, which is a result; 1: training failed.
    """
    from loop.report.outcomes import promoted

    night = session.loop.run(as_of, abandon=abandon)
    session.show(
        _sentence(session, night),
        {
            "night_id": night.night_id,
            "status": night.status,
            "verdict": night.verdict,
            "reasons": night.reasons,
            "outputs": night.outputs.by_stage(),
        },
        then='nightshift ask "..."' if promoted(night) else _next_step(night),
    )
    match night.status:
        # A night that failed promoted nothing either, so its code comes first.
        case NightStatus.FAILED:
            raise SystemExit(FAILED)
        case NightStatus.RUNNING | NightStatus.SKIPPED | NightStatus.DONE:
            if not promoted(night):
                raise SystemExit(NOT_PROMOTED)


def _next_step(night: Night) -> str:
    from loop.report.outcomes import next_step, promote_command, waits

    if waits(night):
        return promote_command(night)
    # The backticks mark commands on the night's page.
    return next_step(night).replace("`", "")


def _sentence(session: Session, night: Night) -> str:
    from loop.gate import explain
    from loop.report.outcomes import outcome, waits, why_not_promoted

    result = f"{outcome(night)}: {why_not_promoted(night)}" if waits(night) else outcome(night)
    lines = [f"{night.night_id} {result}"]
    lines += night.reasons
    if night.outputs.decision_id is not None:
        lines.append(explain(session.app.store.decision(night.outputs.decision_id)))
    lines.append(f"report: {night.outputs.report}")
    return "\n".join(lines)


@click.command(cls=Verb, access=Access.NIGHT)
@click.argument("snapshot_id")
@click.option(
    "--from", "parent", type=click.IntRange(0), metavar="VERSION", help="Continue this version; 0 is the base."
)
@click.pass_obj
def train(session: Session, snapshot_id: str, parent: int | None) -> None:
    """Train a candidate on a snapshot and print its id.

    It continues the champion, or the version that --from names.
    """
    candidate = session.loop.train(snapshot_id, parent=parent)
    session.show(
        candidate.candidate_id,
        {"candidate_id": candidate.candidate_id, "metrics": dict(candidate.metrics)},
        then=f"nightshift register {candidate.candidate_id}",
    )


@click.command(cls=Verb, access=Access.NIGHT)
@click.argument("candidate_id")
@click.pass_obj
def register(session: Session, candidate_id: str) -> None:
    """Register a candidate in MLflow; prints its version."""
    version = session.loop.register(candidate_id)
    session.show(str(version), {"version": version}, then=f"nightshift evaluate {candidate_id}")


@click.command(cls=Verb, access=Access.NIGHT)
@click.argument("candidate_id")
@click.pass_obj
def evaluate(session: Session, candidate_id: str) -> None:
    """Let a candidate answer what held-out users asked.

    Champion and anchor answer the same; prints the id of the evidence.
    """
    evidence = session.loop.evaluate(candidate_id)
    suites = {suite.suite: len(suite.scores) for suite in evidence.suites}
    session.show(
        evidence.evidence_id,
        {"evidence_id": evidence.evidence_id, "items": suites},
        then=f"nightshift decide {evidence.evidence_id}",
    )


@click.command(cls=Verb, access=Access.NIGHT)
@click.argument("evidence_id")
@click.pass_obj
def decide(session: Session, evidence_id: str) -> None:
    """Apply the gate to evidence; prints the decision.

    Exit 3 unless it is PROMOTE.
    """
    decision = session.loop.decide(evidence_id)
    # Imported after the call, so that an id that names nothing is refused before anything heavy is loaded.
    from loop.gate import explain
    from loop.nights.versions import version_of

    version = version_of(session.app.registry, session.app.store.candidate(decision.candidate_id))
    session.show(
        f"{decision.decision_id}\n{explain(decision)}",
        {"decision_id": decision.decision_id, "verdict": decision.verdict, "reasons": decision.reasons},
        then=f"nightshift promote {version} --decision {decision.decision_id}"
        if decision.verdict is Verdict.PROMOTE
        else f'nightshift ask --version {version} "..."',
    )
    if decision.verdict is not Verdict.PROMOTE:
        raise SystemExit(NOT_PROMOTED)
