"""What the demo tells of its days, from values alone."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from evals.worlds import helpdesk
from loop import settings, types
from loop.app import App
from loop.cli.demo.play import Desk, _events, of_the_demo
from loop.cli.demo.story import (
    HEADERS,
    WIDTHS,
    Day,
    Measured,
    Mistake,
    Story,
    aligned,
    decided,
    row,
    summary,
    table,
    undecided,
    write_page,
)
from loop.library import Loop
from loop.types import Decision, Night, NightStatus, Outputs, Stage, Verdict

WORLD = helpdesk.World(seed=1, drift_day=2)


def measured(*satisfied: bool) -> Measured:
    return Measured(satisfied=satisfied, harmful=(False,) * len(satisfied), answers=("said",) * len(satisfied))


def day(number: int, decision: Decision | None, fresh: Measured) -> Day:
    night = Night(
        night_id=f"night-{number:04d}",
        as_of=helpdesk.midnight(number + 1),
        status=NightStatus.DONE if decision else NightStatus.SKIPPED,
        champion_version=0,
        reasons=() if decision else ("too much in quarantine",),
        verdict=decision.verdict if decision else None,
        started_at=helpdesk.midnight(number + 1),
        finished_at=helpdesk.midnight(number + 1) + timedelta(minutes=1),
    )
    return Day(
        number=number,
        served=0,
        feedback=(),
        night=night,
        decision=decision,
        learnt={"edit": 40, "thumb": 4} if decision else {},
        champion=1,
        fresh=fresh,
        base=measured(False, False),
        seconds={"night": 60.0},
    )


def promoted() -> Decision:
    test = types.TestResult(
        name="answers",
        role="superiority",
        items=30,
        clusters=28,
        effect=0.2,
        low=0.1,
        high=0.3,
        p_value=0.001,
        mde=0.1,
        passed=True,
    )
    return Decision(
        decision_id="d",
        evidence_id="e",
        candidate_id="c",
        candidate_sha256="c" * 64,
        champion_version=0,
        champion_sha256=None,
        verdict=Verdict.PROMOTE,
        reasons=("better than the champion",),
        tests=(test,),
    )


def told(folder: Path, *, restored: bool = True) -> Story:
    requests = helpdesk.fresh(WORLD, 3, 20)
    drifted = helpdesk.drifting_intents(WORLD)
    return Story(
        seed=1,
        folder=folder,
        days=(day(1, promoted(), measured(True, False)), day(2, None, measured(True, True))),
        mistake=Mistake(wrong=1, champion=2, measured=measured(False, False), restored=restored, seconds=2.0),
        events={2: "policies change"},
        requests=requests,
        drifted=drifted,
        final=measured(*(request.intent.name in drifted for request in requests)),
        base=measured(*(False,) * len(requests)),
        seconds=60.0,
    )


def test_recovery_counts_those_who_asked_about_what_had_changed(tmp_path):
    story = told(tmp_path)
    affected = sum(story.final.satisfied)

    assert 0 < affected < len(story.requests)
    assert story.recovered == (affected, affected)
    assert f"of these, {affected} asked about what had changed" in summary(story)


def test_the_gain_is_paired_by_request_and_has_an_interval(tmp_path):
    story = told(tmp_path)
    mean, low, high = story.gain

    assert mean == story.final.share
    assert low < mean < high


def test_an_adapter_that_did_not_come_back_is_said_loudly(tmp_path):
    assert "byte-identical" in summary(told(tmp_path))
    assert "NOT THE SAME" in summary(told(tmp_path, restored=False))


def test_the_rows_of_ended_days_stand_under_each_other_as_in_the_table(tmp_path):
    story = told(tmp_path)
    lines = [aligned(HEADERS), *(aligned(row(day)) for day in story.days)]

    assert table(story).splitlines() == lines
    assert {len(line) for line in lines} == {71}
    assert lines[1].split() == ["1", "@0", "0", "PROMOTE", "@1", "50%", "0%", "60"]
    longest = [max([*Verdict, *(status.upper() for status in NightStatus)], key=len), *HEADERS]
    assert all(len(cell) <= width for cell, width in zip(longest[1:], WIDTHS, strict=True))
    assert len(longest[0]) == WIDTHS[HEADERS.index("night")]


def test_a_decision_is_told_with_its_figures_and_what_stood_in_the_way():
    assert decided(3, promoted()) == "night 3: PROMOTE, answers +20.0 points [+10.0, +30.0] by 28 users"
    reasons = ("answers: cannot tell yet; about 210 users would show a difference of 10.0 points, not fewer",)
    first, second, third = decided(4, replace(promoted(), verdict=Verdict.REJECT, reasons=reasons)).splitlines()
    assert first.startswith("night 4: REJECT, answers")
    assert second.startswith("  answers: cannot tell yet")
    assert third.startswith("  ")
    assert len(second) < 80


def test_a_night_without_a_decision_gives_the_first_sentence_of_its_reason():
    night = replace(day(5, None, measured(True)).night, reasons=("Too many complaints. Look at who gave them.",))
    assert undecided(5, night) == "night 5: SKIPPED\n  Too many complaints"


def test_the_summary_fits_a_terminal():
    lines = summary(told(Path("x"))).splitlines()
    assert all(len(line) < 80 for line in lines), lines


def test_the_page_marks_what_happened_and_says_why(tmp_path):
    page = write_page(told(tmp_path)).read_text()

    for shown in (
        "wrong promotion",
        "rolled back",
        "policies change",
        "What was learnt from",
        "Better than the champion.",
        "quarantine",
    ):
        assert shown in page, shown


def test_the_demos_commands_know_nobodys_services():
    real = {
        "PATH": "/bin",
        "NIGHTSHIFT_HOME": "/srv/home",
        "NIGHTSHIFT_LEDGER_URL": "postgresql://db/ledger",
        "NIGHTSHIFT_STORE_URL": "postgresql://db/store",
        "NIGHTSHIFT_KAFKA_SERVERS": "broker:9092",
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
    }
    assert of_the_demo(real) == {"PATH": "/bin", "NIGHTSHIFT_HOME": ".nightshift"}
    assert not settings.addresses(of_the_demo(real)).shared


@pytest.mark.parametrize("as_json", [False, True], ids=["for people", "as JSON"])
def test_a_decision_is_told_before_its_promotion_and_apart_from_the_json(tmp_path, capsys, as_json):
    app = App(replace(settings.load(), addresses=settings.Addresses(home=tmp_path)))
    desk = Desk(Loop(app), WORLD, as_json=as_json)
    night = replace(day(1, promoted(), measured(True)).night, outputs=Outputs(decision_id="d"))
    app.store.save_decision(promoted())
    app.store.save_night(night)
    desk.progress(Stage.DECIDE, 1, 1, "ended")
    assert "PROMOTE" not in "".join(capsys.readouterr())
    desk.progress(Stage.PROMOTE, 0, 1, "begins")
    printed = capsys.readouterr()
    assert (printed.err if as_json else printed.out).splitlines() == [decided(1, promoted())]
    desk.progress(Stage.PROMOTE, 1, 1, "ended")
    assert not "".join(capsys.readouterr())
    app.store.close()


def test_the_desk_says_in_the_morning_what_befalls_it():
    events = {number: [*_events(replace(WORLD, brigade_day=3), number)] for number in (1, 2, 3)}
    assert events[1] == []
    assert all(intent in events[2][0] for intent in helpdesk.drifting_intents(WORLD))
    assert events[3] == ["30 hostile accounts come, to teach it harm"]
