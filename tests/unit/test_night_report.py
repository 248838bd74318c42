"""The page of a night: what a reviewer reads is what the evidence says."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evals.standings import standings
from loop import gate, report
from loop.settings import GateSettings
from loop.types import Evidence, Night, NightStatus, PairedScore, Stage, SuiteEvidence, SuiteRole
from tests.memory_registry import make_candidate

MORNING = datetime(2026, 3, 1, 3, tzinfo=UTC)


def suite(name: str, role: SuiteRole, *rows: tuple[str, float | None, float, float | None]) -> SuiteEvidence:
    """Rows of (user, candidate, champion, anchor)."""
    scores = tuple(
        PairedScore(item_id=f"{name}-{number}", cluster=user, candidate=ours, champion=theirs, anchor=anchor)
        for number, (user, ours, theirs, anchor) in enumerate(rows)
    )
    return SuiteEvidence(suite=name, suite_sha256="0" * 64, role=role, scores=scores)


TALKATIVE = suite("answers", SuiteRole.SUPERIORITY, ("a", 1.0, 0.0, 0.5), ("a", 1.0, 0.0, 0.5), ("b", 0.0, 0.5, 0.0))
TO_READ = suite("preference", SuiteRole.REPORT, ("a", 0.75, 0.5, None), ("b", None, 0.5, None))


def evidence(*suites: SuiteEvidence) -> Evidence:
    return Evidence(
        evidence_id="e",
        candidate_id="c",
        candidate_sha256="1" * 64,
        champion_version=1,
        champion_sha256="2" * 64,
        anchor_version=0,
        anchor_sha256=None,
        suites=suites,
    )


def page(found: Evidence | None, outputs: Mapping[Stage, str], answers: Sequence[Mapping[str, object]] = ()) -> str:
    decision = gate.decide(found, GateSettings()) if found else None
    night = Night(
        night_id="night-0007",
        as_of=MORNING,
        status=NightStatus.DONE if found else NightStatus.SKIPPED,
        champion_version=1,
        outputs=outputs,
        reasons=() if found else ("too little to train on",),
        verdict=decision.verdict if decision else None,
        started_at=MORNING,
    )
    return report.render(
        report.NightReport(night=night, model="desk", evidence=found, decision=decision, answers=answers)
    )


def test_a_user_who_asks_much_counts_as_one() -> None:
    (standing,) = standings([TALKATIVE])

    assert (standing.candidate, standing.champion, standing.anchor) == (0.5, 0.25, 0.25)
    assert (standing.difference.mean, standing.difference.items, standing.difference.clusters) == (0.25, 3, 2)


def test_an_item_without_a_score_is_left_out_and_a_suite_without_items_has_no_standing() -> None:
    (standing,) = standings([TO_READ, suite("format", SuiteRole.GUARD)])

    assert (standing.suite, standing.candidate, standing.champion, standing.anchor) == ("preference", 0.75, 0.5, None)
    assert standing.difference.items == 1


def test_the_page_shows_suites_to_read_beside_those_that_judge() -> None:
    shown = page(evidence(TALKATIVE, TO_READ), {Stage.CURATE: "5" * 64})

    assert "UNDERPOWERED" in shown
    for cell in ("answers", "superiority", "0.500", "preference", "report", "0.750", f"nightshift train {'5' * 64}"):
        assert cell in shown, cell


def test_a_night_that_never_trained_says_why() -> None:
    shown = page(None, {})

    assert "SKIPPED" in shown
    assert "too little to train on" in shown
    assert "Mean scores" not in shown


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "{{ 7 * 7 }}", "</td><img src=x onerror=alert(1)>"])
def test_what_users_wrote_is_text_on_the_page(hostile: str) -> None:
    row = {"prompt": hostile, "champion_answer": hostile, "candidate_answer": hostile}
    shown = page(evidence(TALKATIVE), {}, [{**row, "champion_score": 0.0, "candidate_score": 1.0}])

    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("{{ 7 * 7 }}") == 3 * (hostile == "{{ 7 * 7 }}")


def test_a_training_says_how_far_it_came_and_what_went_wrong(tmp_path) -> None:
    trained = replace(
        make_candidate(tmp_path / "adapter", "c"),
        metrics={"kl": 0.8, "steps": 3, "steps_planned": 39, "skipped": 1, "budget_hit": 1.0},
    )
    night = Night(
        night_id="night-0001",
        as_of=MORNING,
        status=NightStatus.RUNNING,
        champion_version=0,
        outputs={},
        started_at=MORNING,
    )
    shown = report.render(
        report.NightReport(night=night, model="desk", candidate=trained, steps=({"step": 1, "kl": 0.8},))
    )

    assert "3 of 39, 1 of them left out because their gradient leapt or was no number" in shown
    assert "cut short: to train on, raise the budget" in shown
    assert "0.80 nats a token from the champion" in shown
    assert "lower <code>learning_rate</code>" in shown
