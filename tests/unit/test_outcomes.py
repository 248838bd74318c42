"""What came of a night, in sentences: the page, the command and the registry say the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from loop.report.outcomes import headline, next_step, outcome, promoted, reasons, why
from loop.types import Action, Decision, Night, NightStatus, Outputs, Promotion, Verdict, Without

MORNING = datetime(2026, 3, 1, 3, tzinfo=UTC)
JUDGED = Outputs(
    snapshot_id="5" * 64,
    candidate_id="c",
    version=4,
    decision_id="d",
    entry_hash=Without.PROMOTION,
    report="report.html",
)


def night(verdict: Verdict | None, **changed: object) -> Night:
    made = Night(
        night_id="night-0007",
        as_of=MORNING,
        status=NightStatus.DONE,
        champion_version=2,
        outputs=JUDGED,
        verdict=verdict,
        started_at=MORNING,
        finished_at=MORNING,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


SERVING = night(Verdict.PROMOTE, outputs=replace(JUDGED, entry_hash="a" * 64))
LEFT = night(Verdict.PROMOTE)
STALE = night(Verdict.PROMOTE, reasons=("not promoted: version 3 serves since the decision",))
SKIPPED = night(
    None, status=NightStatus.SKIPPED, outputs=Outputs(), reasons=("train examples: 3; required: at least 16.",)
)
FAILED = night(None, status=NightStatus.FAILED, outputs=Outputs(), reasons=("it diverged; what to do: lower it",))
RUNNING = night(None, status=NightStatus.RUNNING, outputs=Outputs(snapshot_id="5" * 64))


def row(**changed: object) -> Promotion:
    made = Promotion(
        sequence=9,
        action=Action.PROMOTE,
        model="desk",
        from_version=3,
        to_version=4,
        adapter_sha256="1" * 64,
        decision_id="d",
        actor="anna",
        reason="read it",
        recorded_at=MORNING,
        previous_hash="0" * 64,
        entry_hash="b" * 64,
    )
    return replace(made, **changed)  # type: ignore[arg-type]


def decision(*said: str) -> Decision:
    return Decision(
        decision_id="d",
        evidence_id="e",
        candidate_id="c",
        candidate_sha256="1" * 64,
        champion_version=2,
        champion_sha256="2" * 64,
        verdict=Verdict.REJECT,
        reasons=said,
        tests=(),
    )


def test_a_night_whose_candidate_serves_is_told_from_one_that_nobody_promoted() -> None:
    assert not promoted(LEFT)
    assert promoted(SERVING)


@pytest.mark.parametrize(
    ("found", "cell", "line"),
    [
        (SERVING, "PROMOTE", "Version 4 serves instead of version 2."),
        (
            LEFT,
            "PROMOTE, not promoted",
            "a person has the last word (`promote` under [gate] is false). Version 2 goes on",
        ),
        (STALE, "PROMOTE, not promoted", "not promoted: version 3 serves since the decision."),
        (night(Verdict.REJECT), "REJECT", "The candidate is not good enough. Version 2 goes on serving."),
        (night(Verdict.UNDERPOWERED), "UNDERPOWERED", "Too few users to tell. Version 2 goes on serving."),
        (night(Verdict.HOLD), "HOLD", "The evidence has gaps, a person has to look. Version 2 goes on serving."),
        (SKIPPED, "SKIPPED", "No candidate was judged. Version 2 goes on serving."),
        (FAILED, "FAILED", "No candidate was judged. Version 2 goes on serving."),
        (RUNNING, "RUNNING", "It is not finished: curate was its last stage. Version 2 goes on serving."),
    ],
)
def test_every_outcome_says_what_was_decided_and_who_serves(found: Night, cell: str, line: str) -> None:
    assert outcome(found) == cell
    assert headline(found).startswith(f"night-0007: {cell}")
    assert line in headline(found)


def test_a_night_that_was_overtaken_does_not_say_that_its_champion_goes_on() -> None:
    assert "goes on" not in headline(STALE)


def test_a_champion_that_somebody_took_back_meanwhile_does_not_go_on() -> None:
    found = night(Verdict.UNDERPOWERED, finished_at=MORNING + timedelta(hours=1))
    back = row(
        action=Action.ROLLBACK,
        from_version=2,
        to_version=1,
        decision_id=None,
        recorded_at=MORNING + timedelta(minutes=1),
    )
    approved = replace(back, action=Action.ANCHOR, to_version=2, recorded_at=MORNING + timedelta(minutes=2))
    told = headline(found, [back, approved])
    assert told.endswith("anna let version 1 serve instead of version 2 while the night ran.")
    later = replace(back, recorded_at=MORNING + timedelta(hours=2))
    before = replace(back, recorded_at=MORNING - timedelta(hours=2))
    assert headline(found, [before, approved, later]).endswith("Version 2 goes on serving.")


def test_the_base_model_is_called_so() -> None:
    assert headline(replace(SKIPPED, champion_version=0)).endswith("The base model goes on serving.")


@pytest.mark.parametrize(
    ("found", "step"),
    [
        (SERVING, '`nightshift rollback --reason "..."` brings version 2 back'),
        (LEFT, "`nightshift promote 4 --decision d` lets it serve"),
        (STALE, "`nightshift run` begins the next night"),
        (night(Verdict.REJECT), "nothing has to be done"),
        (night(Verdict.UNDERPOWERED), "more feedback to judge by"),
        (night(Verdict.HOLD), "`nightshift evaluate c` takes the scores again"),
        (SKIPPED, "the next `nightshift run` looks at all feedback again"),
        (FAILED, "`nightshift run` begins a new night"),
        (RUNNING, "`nightshift run` finishes it"),
    ],
)
def test_every_outcome_has_its_next_step(found: Night, step: str) -> None:
    assert step in next_step(found)


def test_what_a_person_promoted_afterwards_is_told_as_theirs() -> None:
    rows = [row(decision_id="another"), row()]

    assert promoted(LEFT, rows)
    assert not promoted(LEFT, rows[:1])
    assert outcome(LEFT, rows) == "PROMOTE, promoted by anna"
    assert headline(LEFT, rows).endswith(". anna let version 4 serve instead of version 3.")
    assert "brings version 3 back" not in next_step(STALE, rows[:1])


def test_what_the_night_promoted_is_not_taken_for_a_person_s() -> None:
    assert outcome(SERVING, [row(entry_hash="a" * 64, actor="nightshift")]) == "PROMOTE"


def test_the_decisive_reason_is_the_decision_s_first_that_judges() -> None:
    judged = decision("format: left out, it has 3 users", "answers: not better")

    assert why(night(Verdict.REJECT), judged) == "answers: not better"
    assert (
        why(night(Verdict.UNDERPOWERED), decision("answers: left out, no feedback")) == "answers: left out, no feedback"
    )
    assert why(SKIPPED, None) == "train examples: 3; required: at least 16."
    assert why(RUNNING, None) == ""


def test_reasons_of_a_night_follow_those_of_its_decision() -> None:
    assert reasons(STALE, decision("answers: better")) == ("answers: better", *STALE.reasons)
