"""The gate as a function from evidence to verdict."""

from dataclasses import replace

import numpy as np
import pytest

from loop.gate import decide, explain
from loop.settings import GateSettings
from loop.types import Evidence, PairedScore, SuiteEvidence, SuiteRole, Verdict

SETTINGS = GateSettings()


def suite(
    effect: float,
    *,
    users: int,
    name: str = "vault",
    role: SuiteRole = SuiteRole.SUPERIORITY,
    items: int = 2,
    noise: float = 0.05,
    anchor_effect: float | None = None,
) -> SuiteEvidence:
    """Users whose mean difference is exactly `effect` on average, spread by `noise`."""
    drawn = np.random.default_rng(0).normal(0, 1, size=users)
    spread = noise * (drawn - drawn.mean()) / max(drawn.std(), 1e-9) if users > 1 else np.zeros(users)
    scores = tuple(
        PairedScore(
            item_id=f"{user}-{item}",
            cluster=f"user {user}",
            candidate=0.5,
            champion=float(np.clip(0.5 - effect - spread[user], 0, 1)),
            anchor=None if anchor_effect is None else float(np.clip(0.5 - anchor_effect - spread[user], 0, 1)),
        )
        for user in range(users)
        for item in range(items)
    )
    return SuiteEvidence(suite=name, suite_sha256="0" * 64, role=role, scores=scores)


def guard(effect: float, *, users: int, noise: float = 0.02, name: str = "format") -> SuiteEvidence:
    return suite(effect, users=users, noise=noise, name=name, role=SuiteRole.GUARD)


def evidence(*suites: SuiteEvidence, champion: int = 2, anchor: int = 2) -> Evidence:
    return Evidence(
        evidence_id="evidence",
        candidate_id="candidate",
        candidate_sha256="c" * 64,
        champion_version=champion,
        champion_sha256="d" * 64 if champion else None,
        anchor_version=anchor,
        anchor_sha256="e" * 64 if anchor else None,
        suites=suites,
    )


def with_first_score(found: SuiteEvidence, score: PairedScore) -> SuiteEvidence:
    return replace(found, scores=(score, *found.scores[1:]))


GOOD = suite(0.10, users=40)


def test_a_clear_gain_with_sound_guards_is_promoted() -> None:
    decision = decide(evidence(GOOD, guard(0.0, users=100)), SETTINGS)
    assert decision.verdict is Verdict.PROMOTE
    assert all(test.passed for test in decision.tests)


def test_a_clear_loss_is_rejected() -> None:
    assert decide(evidence(suite(-0.10, users=40)), SETTINGS).verdict is Verdict.REJECT


def test_scores_that_are_all_equal_are_rejected_without_a_figure() -> None:
    decision = decide(evidence(suite(0.0, users=400, noise=0.0)), SETTINGS)
    assert decision.verdict is Verdict.REJECT
    assert decision.reasons == ("vault: not better than the champion, 400 users saw no difference at all",)
    assert "detectable" not in explain(decision)


def test_an_uncertain_gain_is_underpowered_and_says_how_many_users_it_takes() -> None:
    decision = decide(evidence(suite(0.02, users=20, noise=0.2)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED
    (reason,) = decision.reasons
    assert reason == (
        "vault: cannot tell yet whether it is better than the champion, +2.0 points [-7.6, +11.6], p = 0.336 where at "
        "most 0.05 is needed; about 650 users would probably show a gain of 2.0 points"
    )


def test_a_gain_that_nearly_showed_is_underpowered_however_precisely_it_was_measured() -> None:
    decision = decide(evidence(suite(0.003, users=400, noise=0.05)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED
    assert decision.reasons[0].endswith("; a gain of 2.0 points is ruled out, a smaller one is not")


def test_more_users_turn_a_night_that_could_not_tell_and_none_that_was_rejected() -> None:
    """The definition of the two verdicts, by repeating the same users' scores."""
    for effect, noise in ((0.018, 0.12), (0.003, 0.05), (-0.05, 0.1), (0.0, 0.0)):
        few, many = (suite(effect, users=users, noise=noise) for users in (40, 4000))
        turned = decide(evidence(many), SETTINGS).verdict is Verdict.PROMOTE
        assert (decide(evidence(few), SETTINGS).verdict is Verdict.UNDERPOWERED) == turned


def test_a_guard_near_its_margin_is_underpowered_however_precisely_it_was_measured() -> None:
    decision = decide(evidence(GOOD, guard(-0.019, users=100)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED
    (reason,) = decision.reasons
    assert reason == (
        "format: cannot tell yet whether it is worse than the champion, -1.9 points [-2.3, -1.5], at worst -2.2 points "
        "(95 % sure), -2.0 allowed; more users may settle it"
    )


def test_an_uncertain_loss_is_underpowered_while_a_gain_is_within_its_interval() -> None:
    assert decide(evidence(suite(-0.02, users=20, noise=0.2)), SETTINGS).verdict is Verdict.UNDERPOWERED


@pytest.mark.parametrize("effect", [0.4, -0.4])
def test_too_few_users_are_underpowered_whatever_they_say(effect: float) -> None:
    decision = decide(evidence(suite(effect, users=7, items=100)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED
    assert decision.reasons == ("vault: 7 users cannot settle it, at least 8 are needed (`min_clusters`)",)


def test_one_user_is_no_users() -> None:
    decision = decide(evidence(suite(0.4, users=1)), SETTINGS)
    assert decision.reasons == ("vault: 1 user cannot settle it, at least 8 are needed (`min_clusters`)",)
    assert "2 items of 1 user," in explain(decision)


def test_a_guard_that_clearly_fails_rejects_the_best_candidate() -> None:
    assert decide(evidence(GOOD, guard(-0.10, users=100)), SETTINGS).verdict is Verdict.REJECT


def test_a_guard_that_lacks_power_makes_it_underpowered() -> None:
    decision = decide(evidence(GOOD, guard(0.0, users=10, noise=0.2)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED


def test_a_small_loss_within_the_margin_passes_a_guard() -> None:
    assert decide(evidence(GOOD, guard(-0.01, users=100)), SETTINGS).verdict is Verdict.PROMOTE


def test_a_proven_loss_counts_even_when_the_gain_is_still_open() -> None:
    open_gain = suite(0.02, users=20, noise=0.2)
    assert decide(evidence(open_gain, guard(-0.10, users=100)), SETTINGS).verdict is Verdict.REJECT


def test_every_superiority_suite_has_to_show_the_gain() -> None:
    flat = suite(0.0, users=400, name="vault-edits", noise=0.0)
    assert decide(evidence(GOOD, flat), SETTINGS).verdict is Verdict.REJECT


def test_a_guard_without_any_item_is_left_out_and_named() -> None:
    decision = decide(evidence(GOOD, guard(0.0, users=0)), SETTINGS)
    assert decision.verdict is Verdict.PROMOTE
    assert "format: left out, no held-out user gave feedback that it can use" in decision.reasons


def test_a_vault_without_any_item_can_tell_nothing() -> None:
    decision = decide(evidence(suite(0.0, users=0), guard(0.0, users=100)), SETTINGS)
    assert decision.verdict is Verdict.UNDERPOWERED
    assert decision.reasons == ("vault: left out, no held-out user gave feedback that it can use",)


@pytest.mark.parametrize("side", ["candidate", "champion"])
@pytest.mark.parametrize("score", [None, float("nan"), 1.5])
def test_a_score_that_is_missing_or_impossible_holds(side: str, score: float | None) -> None:
    broken = with_first_score(GOOD, replace(GOOD.scores[0], **{side: score}))
    decision = decide(evidence(broken), SETTINGS)
    assert decision.verdict is Verdict.HOLD
    assert decision.reasons == (f"vault: 1 of 80 {side} scores are missing or outside 0 to 1",)


def test_a_missing_guard_score_holds_but_a_missing_reported_one_does_not() -> None:
    sound = guard(0.0, users=100)
    broken = with_first_score(sound, replace(sound.scores[0], champion=None))
    assert decide(evidence(GOOD, broken), SETTINGS).verdict is Verdict.HOLD
    reported = replace(broken, role=SuiteRole.REPORT)
    assert decide(evidence(GOOD, reported), SETTINGS).verdict is Verdict.PROMOTE


def test_an_item_scored_twice_holds() -> None:
    doubled = with_first_score(GOOD, GOOD.scores[1])
    assert decide(evidence(doubled), SETTINGS).verdict is Verdict.HOLD


def test_no_superiority_suite_and_a_doubled_suite_hold() -> None:
    assert decide(evidence(guard(0.0, users=100)), SETTINGS).verdict is Verdict.HOLD
    assert decide(evidence(GOOD, GOOD), SETTINGS).verdict is Verdict.HOLD


def test_a_champion_without_a_sha256_holds() -> None:
    assert decide(replace(evidence(GOOD), champion_sha256=None), SETTINGS).verdict is Verdict.HOLD
    assert decide(evidence(GOOD, champion=0, anchor=0), SETTINGS).verdict is Verdict.PROMOTE


def test_behind_the_anchor_is_rejected_although_the_champion_is_beaten() -> None:
    decayed = suite(0.10, users=40, anchor_effect=-0.10)
    assert decide(evidence(decayed, anchor=1), SETTINGS).verdict is Verdict.REJECT
    ahead = suite(0.10, users=40, anchor_effect=0.15)
    assert decide(evidence(ahead, anchor=1), SETTINGS).verdict is Verdict.PROMOTE


def test_the_anchor_is_not_asked_while_it_is_the_champion() -> None:
    decision = decide(evidence(GOOD), SETTINGS)
    assert [test.role for test in decision.tests] == ["superiority"]


def test_an_anchor_that_was_not_scored_holds() -> None:
    decision = decide(evidence(GOOD, anchor=1), SETTINGS)
    assert decision.verdict is Verdict.HOLD
    assert "anchor" in decision.reasons[0]


def test_a_guard_that_saw_no_difference_passes_with_a_warning() -> None:
    decision = decide(evidence(GOOD, guard(0.0, users=30, noise=0.0)), SETTINGS)
    assert decision.verdict is Verdict.PROMOTE
    assert "a loss for up to 10% of users cannot be excluded" in decision.reasons[-1]


def test_equal_evidence_gives_equal_decisions_and_other_evidence_another_id() -> None:
    first, again = decide(evidence(GOOD), SETTINGS), decide(evidence(GOOD), SETTINGS)
    assert first == again
    assert decide(evidence(suite(0.11, users=40)), SETTINGS).decision_id != first.decision_id


def test_candidates_no_better_than_the_champion_are_promoted_in_at_most_alpha_of_the_nights() -> None:
    rng = np.random.default_rng(1)

    def night(number: int) -> Verdict:
        taste = rng.normal(0, 0.1, size=12)
        scores = tuple(
            PairedScore(
                item_id=f"{user}-{item}",
                cluster=str(user),
                candidate=float(np.clip(0.5 + taste[user] + rng.normal(0, 0.1), 0, 1)),
                champion=0.5,
            )
            for user in range(12)
            for item in range(3)
        )
        found = SuiteEvidence(suite="vault", suite_sha256="0" * 64, role=SuiteRole.SUPERIORITY, scores=scores)
        return decide(replace(evidence(found), evidence_id=str(number)), SETTINGS).verdict

    promoted = sum(night(number) is Verdict.PROMOTE for number in range(600))
    assert promoted / 600 == pytest.approx(0.05, abs=0.03)


def test_the_explanation_has_verdict_effect_interval_p_mde_and_reasons() -> None:
    text = explain(decide(evidence(GOOD, guard(-0.10, users=100)), SETTINGS))
    assert text.startswith("REJECT: candidate candidate against version 2")
    figures = "+10.0 points [+8.4, +11.6], p < 0.001 (80 items of 40 users, detectable 2.0 points)"
    assert f"- passed: vault (superiority), {figures}" in text
    assert (
        "- format: worse than the champion by more than is allowed, -10.0 points [-10.4, -9.6], at worst -10.3 points "
        "(95 % sure), -2.0 allowed" in text
    )


def test_a_promotion_says_what_every_test_found_and_needed() -> None:
    behind = suite(0.10, users=40, anchor_effect=0.02)
    decision = decide(evidence(behind, guard(-0.001, users=100), anchor=1), SETTINGS)
    gain, anchor, loss = decision.reasons
    assert gain == "vault: better than the champion, +10.0 points [+8.4, +11.6], p < 0.001 where at most 0.05 is needed"
    assert anchor.startswith("vault against the anchor: not worse than the anchor by more than is allowed, at worst ")
    assert anchor.endswith("-0.5 points (99.9 % sure), -1.0 allowed")
    assert loss == (
        "format: not worse than the champion by more than is allowed, at worst -0.4 points (95 % sure), -2.0 allowed"
    )


def test_the_settled_failure_is_the_first_reason() -> None:
    decision = decide(evidence(suite(0.02, users=20, noise=0.2), guard(-0.10, users=100)), SETTINGS)
    assert [reason.partition(":")[0] for reason in decision.reasons] == ["format", "vault"]


def test_a_guard_of_few_users_blocks_by_default() -> None:
    assert decide(evidence(GOOD, guard(0.0, users=3)), SETTINGS).verdict is Verdict.UNDERPOWERED


def test_a_guard_below_the_configured_number_of_users_is_left_out_and_named() -> None:
    decision = decide(evidence(GOOD, guard(0.0, users=3)), replace(SETTINGS, guards_from=8))
    assert decision.verdict is Verdict.PROMOTE
    assert [test.name for test in decision.tests] == ["vault"]
    assert "format: left out, it has 3 users, `guards_from` under [gate] asks for 8" in decision.reasons


def test_the_superiority_suite_is_never_left_out() -> None:
    decision = decide(evidence(suite(0.4, users=3)), replace(SETTINGS, guards_from=8))
    assert decision.verdict is Verdict.UNDERPOWERED
