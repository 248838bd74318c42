"""The page of a night: what a reviewer reads is what the evidence says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from evals.standings import standings
from loop import gate, report
from loop.report.answers import answer_cards
from loop.settings import GateSettings
from loop.types import Decision, Evidence, Night, NightStatus, Outputs, PairedScore, SuiteEvidence, SuiteRole, Without
from tests.candidates import make_candidate

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


def page(found: Evidence | None, outputs: Outputs, answers: Sequence[Mapping[str, object]] = ()) -> str:
    decision = gate.decide(found, GateSettings()) if found else None
    return report.render(
        report.NightReport(
            night=night(decision, outputs),
            model="desk",
            evidence=found,
            decision=decision,
            answers=answers,
            version=outputs.version,
        )
    )


def night(decision: Decision | None, outputs: Outputs) -> Night:
    return Night(
        night_id="night-0007",
        as_of=MORNING,
        status=NightStatus.DONE if decision else NightStatus.SKIPPED,
        champion_version=1,
        outputs=outputs,
        reasons=() if decision else ("too little to train on",),
        verdict=decision.verdict if decision else None,
        started_at=MORNING,
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
    shown = page(evidence(TALKATIVE, TO_READ), Outputs(snapshot_id="5" * 64))

    assert "UNDERPOWERED" in shown
    for cell in ("answers", "superiority", "0.500", "preference", "report", "0.750", f"nightshift train {'5' * 64}"):
        assert cell in shown, cell


def test_a_score_stands_beside_what_the_user_wanted() -> None:
    answer = {
        "item_id": "i",
        "prompt": "Where is my order?",
        "champion_answer": "No idea.",
        "candidate_answer": "On its way.",
        "champion_score": 0.25,
        "candidate_score": 1,
        "wanted": ["an older edit", "It is on its way.", "On its way."],
        "rejected": ["Ask your mother."],
        "checks": ["max_words: 24", "regex: way"],
    }
    shown = page(evidence(TALKATIVE), Outputs(), [answer])

    for text in ("Where is my order?", "<b>The user wrote, chose or approved</b>On its way.", "Ask your mother."):
        assert text in shown, text
    assert "<b>The application checks</b>max_words: 24\nregex: way" in shown
    assert '<div class="plain"><b>Champion, score 0.25</b>No idea.' in shown
    assert '<div class="good"><b>Candidate, score 1.00</b>On its way.' in shown
    assert "an older edit" not in shown
    assert "Of 1 held-out items 0 got worse and 1 better" in shown


def scored(number: int, before: float, after: float) -> Mapping[str, object]:
    texts = {"prompt": f"prompt {number}.", "champion_answer": "then", "candidate_answer": "now"}
    return {**texts, "champion_score": before, "candidate_score": after}


def test_what_got_worse_is_read_first_and_what_stayed_equal_last() -> None:
    answers = [scored(1, 0.2, 0.2), *(scored(n, 0.2, n / 100) for n in range(30, 50)), scored(2, 0.9, 0.1)]
    cards = answer_cards(answers).cards

    assert [card.title for card in cards] == ["prompt 2.", *(f"prompt {n}." for n in range(49, 38, -1))]


def test_a_score_that_was_not_taken_and_answers_of_an_older_night_are_shown() -> None:
    shown = page(evidence(TALKATIVE), Outputs(), [{**scored(1, 0.5, 0.5), "candidate_score": None}])

    assert "Candidate, score not taken" in shown
    assert "The user wrote" not in shown


JUDGED = Outputs(version=4, decision_id="d7", entry_hash=Without.PROMOTION)
GAIN = suite("answers", SuiteRole.SUPERIORITY, *((f"user {n}", 0.9, 0.4, 0.4) for n in range(20)))


def test_a_promotion_that_waits_for_a_person_does_not_look_as_if_it_served() -> None:
    shown = page(evidence(GAIN), JUDGED)

    assert '<span class="badge unsure">PROMOTE, not promoted</span>' in shown
    assert "a person has the last word" in shown
    assert "nightshift promote 4 --decision d7" in shown
    assert facts(shown)["champion after"] == "version 1"


def test_a_promotion_that_serves_says_who_served_before() -> None:
    shown = page(evidence(GAIN), replace(JUDGED, entry_hash="a" * 64))

    assert '<span class="badge good">PROMOTE</span>' in shown
    assert (facts(shown)["champion before"], facts(shown)["champion after"]) == ("version 1", "version 4")
    assert "nightshift rollback" in shown


def facts(shown: str) -> Mapping[str, str]:
    """Names and values of the page's lists, without their markup."""
    found = re.findall(r"<dt[^>]*>(.*?)</dt><dd>(.*?)</dd>", shown)
    return {re.sub("<[^>]*>", "", name): re.sub("<[^>]*>", "", value) for name, value in found}


def test_an_earlier_night_that_came_to_a_decision_shows_its_reason() -> None:
    before = gate.decide(evidence(TALKATIVE), GateSettings())
    earlier = replace(
        night(None, Outputs(decision_id=before.decision_id)), night_id="night-0006", verdict=before.verdict
    )
    tonight = report.NightReport(
        night=night(None, Outputs()), model="desk", earlier=[earlier], decisions={before.decision_id: before}
    )
    shown = report.render(tonight)

    assert "2 users cannot settle it, at least 8 are needed" in re.sub("<[^>]*>", "", shown)


def test_a_long_list_of_earlier_nights_is_cut_and_says_so() -> None:
    earlier = [replace(night(None, Outputs()), night_id=f"night-{n:04d}") for n in range(1, 41)]
    shown = report.render(report.NightReport(night=night(None, Outputs()), model="desk", earlier=earlier))

    assert "night-0040" in shown
    assert "night-0010<" not in shown
    assert "lists 10 older ones" in shown


def test_a_failed_night_says_what_to_do_next() -> None:
    failed = replace(
        night(None, Outputs()), status=NightStatus.FAILED, reasons=("it diverged; what to do: lower `epochs`",)
    )
    shown = report.render(report.NightReport(night=failed, model="desk"))

    assert '<span class="badge bad">FAILED</span>' in shown
    assert "lower <code>epochs</code>" in shown
    assert "<code>nightshift run</code> begins a new" in shown


def luminance(color: str) -> float:
    """WCAG 2's relative luminance of `#rgb` or `#rrggbb`."""
    digits = color.lstrip("#")
    pairs = [digits[n : n + 2] for n in (0, 2, 4)] if len(digits) == 6 else [digit * 2 for digit in digits]
    shares = [int(pair, 16) / 255 for pair in pairs]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_text_has_the_contrast_that_wcag_aa_asks_for_in_light_in_dark_and_on_paper() -> None:
    schemes = [
        dict(re.findall(r"--(\w+): (#\w+)", block))
        for block in re.findall(r":root \{(.*?)\}", page(None, Outputs()), re.DOTALL)
    ]
    light, dark, paper = schemes

    for colors in (light, light | dark, light | paper):
        for text in ("ink", "soft", "blue"):
            assert contrast(colors[text], colors["paper"]) >= 4.5, text
            assert contrast(colors[text], colors["ground"]) >= 4.5, text
        for badge in ("good", "bad", "unsure", "soft"):
            assert contrast(colors["badge"], colors[badge]) >= 4.5, badge
        for drawn in ("good", "bad", "blue", "grey"):
            assert contrast(colors[drawn], colors["paper"]) >= 3, drawn


def test_a_phone_s_table_names_each_value_and_nothing_runs_on_the_page() -> None:
    shown = page(evidence(TALKATIVE), Outputs())

    assert '<td data-label="difference">' in shown
    assert 'name="viewport" content="width=device-width' in shown
    for running in ("<script", "onload", "http://", "https://"):
        assert running not in re.sub(
            r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>|<metadata>.*?</metadata>', "", shown, flags=re.DOTALL
        )


def test_a_night_that_never_trained_says_why() -> None:
    shown = page(None, Outputs())

    assert "SKIPPED" in shown
    assert "too little to train on" in shown
    assert "Mean scores" not in shown


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", "{{ 7 * 7 }}", "</td><img src=x onerror=alert(1)>"])
def test_what_users_wrote_is_text_on_the_page(hostile: str) -> None:
    row = {"prompt": hostile, "champion_answer": hostile, "candidate_answer": hostile}
    shown = page(evidence(TALKATIVE), Outputs(), [{**row, "champion_score": 0.0, "candidate_score": 1.0}])

    assert "<script" not in shown
    assert "<img" not in shown
    assert shown.count("{{ 7 * 7 }}") == 3 * (hostile == "{{ 7 * 7 }}")


def test_a_training_says_how_far_it_came_and_what_went_wrong(tmp_path) -> None:
    trained = replace(
        make_candidate(tmp_path / "adapter", "c"),
        metrics={"kl": 0.8, "steps": 3, "steps_planned": 39, "skipped": 1, "budget_hit": 1.0},
    )
    steps = ({"step": 1, "kl": 0.4}, {"step": 2, "kl": 0.8})
    shown = report.render(
        report.NightReport(night=night(None, Outputs()), model="desk", candidate=trained, steps=steps)
    )

    assert 'aria-label="kl by step"' in shown

    assert "3 of 39, 1 of them left out because their gradient leapt or was no number" in shown
    assert "cut short: to train on, raise the budget" in shown
    assert "the candidate&#39;s answers are 0.80 nats a token" in re.sub("<[^>]*>", "", shown)
    assert "lower <code>learning_rate</code>" in shown
