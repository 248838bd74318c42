"""A night in the registry: its title in the list of runs, its tags, and the page of its run."""

from collections.abc import Mapping

from loop.report.outcomes import headline, next_step, outcome, promoted, reasons
from loop.types import Decision, Night


def run_title(night: Night) -> str:
    """Name of the run, `night-0007 · PROMOTE · v5`; without a version where the night registered none."""
    version = night.outputs.version
    return " · ".join(filter(None, [night.night_id, outcome(night), f"v{version}" if version else ""]))


def run_tags(night: Night) -> Mapping[str, str]:
    """Tags by which runs are filtered; those of stages that the night did not reach are absent."""
    outputs = night.outputs
    found = {
        "night_id": night.night_id,
        "as_of": f"{night.as_of:%Y-%m-%dT%H:%M:%SZ}",
        "status": night.status,
        "verdict": night.verdict,
        "promoted": "yes" if promoted(night) else "no",
        "version": outputs.version,
        "champion_before": str(night.champion_version),
        "snapshot_id": outputs.snapshot_id,
        # A night skipped before it registered names another night's candidate, which it did not make.
        "candidate_id": outputs.candidate_id if outputs.version else None,
        "decision_id": outputs.decision_id,
    }
    # The registry takes texts alone; "None" would be found as a value.
    return {name: str(value) for name, value in found.items() if value}


def run_note(night: Night, decision: Decision | None) -> str:
    """Markdown of the run's page: outcome, reasons and next step."""
    listed = "\n".join(f"- {reason}" for reason in reasons(night, decision))
    return "\n\n".join(filter(None, [headline(night), listed, f"Next: {next_step(night)}."]))
