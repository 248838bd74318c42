"""What status and nights say: who serves and why, what came of each night, and whether one is dead."""

import json
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from connectors.sql.database import writing
from connectors.sql.lease import LEASE
from loop import settings
from loop.app import App
from loop.cli.durations import Duration
from loop.cli.main import cli
from loop.cli.session import Session
from loop.promotion.ledger import Move, link
from loop.report.spans import span
from loop.types import Action, Decision, Night, NightStatus, Outputs, Verdict, Without

NOW = datetime.now(UTC)
NIGHT = Night(
    night_id="night-0001",
    as_of=NOW,
    status=NightStatus.DONE,
    champion_version=0,
    started_at=NOW - timedelta(hours=15),
    finished_at=NOW - timedelta(hours=14),
)
DECISION = Decision(
    decision_id="d1",
    evidence_id="e",
    candidate_id="c",
    candidate_sha256="a" * 64,
    champion_version=0,
    champion_sha256=None,
    verdict=Verdict.PROMOTE,
    reasons=("better than the champion", "a second reason"),
    tests=(),
)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    opened = Session(App(replace(settings.load(), addresses=settings.Addresses(home=tmp_path / "home"))))
    yield opened
    opened.app.store.close()
    opened.app.ledger.close()


def call(session: Session, *arguments: str) -> Result:
    return CliRunner().invoke(cli.commands[arguments[0]], arguments[1:], obj=session)


def asked(session: Session, *arguments: str) -> dict:
    return json.loads(call(replace(session, as_json=True), *arguments).stdout)


def judge(session: Session, verdict: Verdict, **changes: object) -> Night:
    """A night that ended with a decision."""
    reasons = ("format: left out, it has no items", *DECISION.reasons)
    session.app.store.save_decision(replace(DECISION, verdict=verdict, reasons=reasons))
    night = replace(NIGHT, verdict=verdict, outputs=Outputs(decision_id="d1", entry_hash=Without.PROMOTION), **changes)
    session.app.store.save_night(night)
    return night


def move(session: Session, action: Action, to: int, *, actor: str, reason: str, decision_id: str | None = None) -> str:
    rows = session.app.ledger.entries()
    row = link(
        rows[-1] if rows else None,
        Move(
            action=action,
            model="assistant",
            from_version=rows[-1].to_version if rows else 0,
            to_version=to,
            adapter_sha256="a" * 64 if to else None,
            decision_id=decision_id,
            actor=actor,
            reason=reason,
            recorded_at=NOW - timedelta(minutes=200),
        ),
    )
    session.app.ledger.append(row)
    return row.entry_hash


def interrupt(session: Session, **lease: object) -> None:
    """A night that began and has not ended, with the lease of its process where one is named."""
    outputs = Outputs(watermark=1, snapshot_id="s", docs="v")
    session.app.store.save_night(replace(NIGHT, status=NightStatus.RUNNING, outputs=outputs, finished_at=None))
    if lease:
        times = {"acquired_at": NOW, "expires_at": NOW + timedelta(hours=1)}
        with writing(session.app.store._engine) as connection:
            connection.execute(LEASE.insert(), {"name": "night", **times, **lease})


def test_the_history_shows_every_row(session):
    move(session, Action.PROMOTE, 1, actor="ann", reason="by hand")
    move(session, Action.ROLLBACK, 0, actor="bob", reason="bad night")
    when = f"{NOW - timedelta(minutes=200):%Y-%m-%d %H:%M}"
    assert [re.split(r"\s{2,}", line) for line in call(session, "history").stdout.splitlines()] == [
        ["1", when, "promote", "assistant@0 -> assistant@1", "ann", "by hand"],
        ["2", when, "rollback", "assistant@1 -> assistant@0", "bob", "bad night"],
    ]


def test_before_anything_was_imported_it_says_so_and_what_comes_next(session):
    said = call(session, "status")
    assert "nothing was imported yet" in said.stdout
    assert "assistant@0, the base model" in said.stdout
    assert said.stderr == "next: nightshift import FILE --format FORMAT\n"


def test_who_serves_stands_with_since_when_by_whom_and_why(session):
    move(session, Action.PROMOTE, 1, actor="nightshift", reason="night-0001")
    move(session, Action.PROMOTE, 2, actor="ann", reason="looks good")
    move(session, Action.ANCHOR, 2, actor="bob", reason="approved")
    said = call(session, "status").stdout
    assert "assistant@2\n" in said
    assert f"since {NOW - timedelta(minutes=200):%Y-%m-%d %H:%M} UTC, 3 h ago" in said
    assert "promoted by ann: looks good" in said
    move(session, Action.ROLLBACK, 1, actor="eve", reason="users complain")
    assert "rolled back by eve: users complain" in call(session, "status").stdout
    found = asked(session, "status")
    assert (found["champion"], found["actor"], found["reason"]) == (1, "eve", "users complain")


@pytest.mark.parametrize("verdict", [Verdict.REJECT, Verdict.UNDERPOWERED, Verdict.HOLD])
def test_a_night_that_came_to_a_decision_has_its_first_reason(session, verdict):
    judge(session, verdict)
    for verb in ("status", "nights"):
        said = call(session, verb).stdout
        assert verdict in said
        assert "better than the champion" in said
    assert asked(session, "nights")["nights"][0]["reason"] == "better than the champion"


def test_a_promotion_that_waits_for_a_person_does_not_look_like_one_that_serves(session):
    judge(session, Verdict.PROMOTE)
    assert (
        "PROMOTE, not promoted  a person has the last word (promote under [gate] is false)"
        in call(session, "nights").stdout
    )
    judge(session, Verdict.PROMOTE, reasons=("not promoted: the champion is another one",))
    assert "PROMOTE, not promoted  the champion is another one" in call(session, "nights").stdout
    move(session, Action.PROMOTE, 1, actor="ann", reason="", decision_id="d1")
    assert "PROMOTE, promoted by ann  " in call(session, "nights").stdout


def test_a_night_that_promoted_its_candidate_says_only_that(session):
    row = move(session, Action.PROMOTE, 1, actor="nightshift", reason="night-0001", decision_id="d1")
    night = judge(session, Verdict.PROMOTE)
    session.app.store.save_night(replace(night, outputs=replace(night.outputs, entry_hash=row)))
    assert "  PROMOTE  better than the champion" in call(session, "nights").stdout


def test_a_night_that_was_given_up_has_failed_whatever_its_verdict(session):
    judge(session, Verdict.PROMOTE, status=NightStatus.FAILED, reasons=("abandoned: wrong base",))
    assert "  FAILED  abandoned: wrong base" in call(session, "nights").stdout


def test_a_night_whose_process_is_gone_is_dead_with_age_stage_and_process(session):
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    interrupt(session, owner=f"{socket.gethostname()}:{ended.pid}:1")
    said = call(session, "status")
    assert "DEAD in train" in said.stdout
    assert f"15 h ago; process {ended.pid} on {socket.gethostname()} is gone" in said.stdout
    assert said.stderr.startswith("next: nightshift run goes on with it")
    found = asked(session, "status")["night"]
    assert (found["dead"], found["stage"]) == (True, "train")


def test_a_night_that_no_process_works_on_is_dead(session):
    interrupt(session)
    assert "no process works on it" in call(session, "nights").stdout


def test_a_night_that_a_process_works_on_runs(session):
    interrupt(session)
    with session.app.store.lease("night", 60):
        said = call(session, "status").stdout
    assert "running in train" in said
    assert f"process {os.getpid()} on" in said
    assert "gone" not in said


@pytest.mark.parametrize(("hours", "result"), [(1, "running in train"), (-1, "DEAD in train")])
def test_of_a_process_elsewhere_the_end_of_its_lease_tells(session, hours, result):
    interrupt(session, owner="elsewhere:7:1", expires_at=NOW + timedelta(hours=hours))
    said = call(session, "nights").stdout
    assert result in said
    assert "process 7 on elsewhere" in said
    assert ("is silent since" in said) == (hours < 0)


@pytest.mark.parametrize(("max_age", "code", "begins"), [("26h", 0, "ok: "), ("15h", 0, "ok: "), ("800m", 1, "LATE: ")])
def test_a_monitor_gets_one_line_and_a_code(session, max_age, code, begins):
    judge(session, Verdict.REJECT)
    said = call(session, "status", "--max-age", max_age)
    assert (said.exit_code, said.stderr, len(said.stdout.splitlines())) == (code, "", 1)
    assert said.stdout.startswith(f"{begins}night-0001 ended ")


def test_a_night_that_runs_or_died_has_not_ended(session):
    assert call(session, "status", "--max-age", "2d").stdout == "LATE: no night has ended yet, 2 d are allowed\n"
    interrupt(session)
    said = call(session, "status", "--max-age", "2d")
    assert said.exit_code == 1
    assert "night-0001 is DEAD in train" in said.stdout
    assert asked(session, "status", "--max-age", "2d")["ok"] is False


@pytest.mark.parametrize("text", ["26", "h", "1.5h", "-1h", "26 hours", "²h", ""])
def test_a_duration_has_a_number_and_a_unit(text):
    with pytest.raises(click.BadParameter, match="26h"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (93_600, "26 h"), (172_800, "2 d")],
)
def test_a_span_is_said_in_the_largest_unit_of_which_there_are_two(seconds, said):
    assert span(timedelta(seconds=seconds)) == said
