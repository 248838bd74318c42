from dataclasses import replace
from datetime import timedelta

from loop.settings import CurationSettings
from loop.types import Example, Feedback, Interaction, Split
from tests.feedback import START, TRAIN_ALL, ask, made, tell

Events = list[Interaction | Feedback]


def honest_days(days: int, users_a_day: int = 4) -> Events:
    """Every day some new users, each with one thumb on the day they came."""
    names = [(f"d{day}u{n}", day) for day in range(days) for n in range(users_a_day)]
    asked = [ask(name, user=name, days=day, prompt=f"Question of {name}") for name, day in names]
    return [*asked, *(tell(name, value=1.0, user=name, days=day + 0.1) for name, day in names)]


def sybils(day: float, count: int, told_on: float | None = None) -> Events:
    names = [f"sybil {n}" for n in range(count)]
    asked = [ask(name, user=name, days=day, prompt=f"Question of {name}") for name in names]
    told_at = day + 0.2 if told_on is None else told_on
    return [*asked, *(tell(name, value=-1.0, user=name, days=told_at) for name in names)]


def clusters(examples: tuple[Example, ...]) -> set[str]:
    return {example.cluster for example in examples}


def test_at_the_start_everybody_is_trusted_at_once() -> None:
    curated = made(honest_days(1), as_of=START + timedelta(hours=6))

    assert len(curated.examples) == 4


def test_later_accounts_wait_until_they_are_old_enough() -> None:
    events = honest_days(3)
    early = made(events, as_of=START + timedelta(days=2.5))
    later = made(events, as_of=START + timedelta(days=3.5))

    assert early.report["young"] == 4
    assert len(early.examples) == 8
    assert "young" not in later.report
    assert len(later.examples) == 12


def test_an_account_is_as_old_as_anything_it_did() -> None:
    first_question = ask("first", user="ann", days=1)
    events = [*honest_days(1), first_question, ask("second", user="ann", days=2), tell("second", value=1.0, days=2.1)]

    assert "ann" in clusters(made(events, as_of=START + timedelta(days=2.2)).examples)


def test_a_burst_of_new_accounts_is_quarantined_for_good_and_named() -> None:
    events = [*honest_days(6), *sybils(4, 50)]
    for days in (5.5, 10, 89):
        curated = made(events, as_of=START + timedelta(days=days))

        assert curated.report["quarantined"] == curated.report["quarantined/2026-01-05"] == 54
        assert not any("sybil" in cluster for cluster in clusters(curated.examples))


def test_a_burst_is_most_of_its_own_day_and_nothing_of_the_days_after() -> None:
    events = [*honest_days(7), *sybils(4, 50)]
    attacked, after = (made(events, as_of=START + timedelta(days=days)).report for days in (5, 7))

    assert attacked["last_day_quarantined"] > attacked["last_day"] / 2
    assert after["last_day"] > 0
    assert "last_day_quarantined" not in after


def test_users_who_judge_are_counted_once_each() -> None:
    settings = replace(TRAIN_ALL, vault_share=0.5)
    curated = made(honest_days(7), settings, as_of=START + timedelta(days=7))
    judges = {each.cluster for each in curated.examples if each.split is Split.VAULT}
    assert 0 < len(judges) == curated.report["judging_users"]


def test_sleepers_that_speak_days_after_they_came_are_seen() -> None:
    curated = made([*honest_days(6), *sybils(3, 50, told_on=5.5)])

    assert curated.report["quarantined/2026-01-04"] == 54


def test_a_burst_outside_the_window_is_still_a_burst() -> None:
    names = [f"sybil {n}" for n in range(50)]
    again = [ask(f"late {name}", user=name, days=95, prompt=name) for name in names]
    told = [tell(f"late {name}", value=-1.0, user=name, days=95.1) for name in names]
    curated = made([*honest_days(6), *sybils(4, 50), *again, *told], as_of=START + timedelta(days=100))

    assert curated.examples == ()
    assert curated.report["quarantined"] == 50


def test_honest_growth_and_the_second_day_of_a_launch_are_no_bursts() -> None:
    growing = [event for day in range(8) for event in honest_days_of(day, 20 + 8 * day)]

    assert "quarantined" not in made(growing).report


def honest_days_of(day: int, users: int) -> Events:
    names = [f"g{day}u{n}" for n in range(users)]
    asked = [ask(name, user=name, days=day, prompt=f"Question of {name}") for name in names]
    return [*asked, *(tell(name, value=1.0, user=name, days=day + 0.1) for name in names)]


def test_the_launch_of_feedback_itself_is_no_burst() -> None:
    """Accounts of days without any feedback say nothing of what is usual."""
    silent = [ask(f"s{day}", user=f"silent {day}", days=day) for day in range(5)]
    launch = [tell(f"s{day}", value=1.0, user=f"silent {day}", days=5.1) for day in range(5)]

    assert "quarantined" not in made([*silent, *launch, *honest_days_of(5, 60), *honest_days_of(6, 60)]).report


def test_a_handful_of_new_accounts_never_alarms() -> None:
    assert "quarantined" not in made([*honest_days(1), *sybils(4, 30)]).report
    assert made([*honest_days(1), *sybils(4, 31)]).report["quarantined"] == 31


def test_the_vault_cannot_be_stuffed_either() -> None:
    everything_judges = CurationSettings(vault_share=1.0, dev_share=0.0)
    curated = made([*honest_days(6), *sybils(4, 50)], everything_judges)

    assert {example.split for example in curated.examples} == {Split.VAULT}
    assert not any("sybil" in cluster for cluster in clusters(curated.examples))


def test_the_vote_of_a_quarantined_account_does_not_count_against_honest_ones() -> None:
    votes = [tell("d0u0", value=-1.0, user=f"sybil {n}", days=4.3) for n in range(50)]
    curated = made([*honest_days(6), *sybils(4, 50), *votes])
    (honest,) = (example for example in curated.examples if example.cluster == "d0u0")

    assert honest.branches[0].score == 1.0


def test_burst_alarm_and_account_age_can_be_switched_off() -> None:
    off = replace(TRAIN_ALL, burst_factor=0.0, min_account_days=0.0)
    curated = made([*honest_days(6), *sybils(4, 50)], off, START + timedelta(days=4.5))

    assert not {"quarantined", "young"} & set(curated.report)


def test_one_tenant_cannot_vouch_for_another() -> None:
    """The first day of a tenant is its own, not that of the log."""
    newcomer = [ask("n", tenant="new", days=5, user="ann"), tell("n", value=1.0, tenant="new", days=5.1)]

    assert len(made([*honest_days(1), *newcomer], as_of=START + timedelta(days=5.5)).examples) == 5


def test_a_user_has_at_most_so_many_examples_and_keeps_the_newest() -> None:
    asked = [ask(f"i{n}", prompt=f"Question {n}", days=n / 10) for n in range(10)]
    told = [tell(f"i{n}", value=1.0, days=n / 10) for n in range(10)]
    curated = made([*asked, *told], replace(TRAIN_ALL, per_user_cap=3))

    assert [example.prompt[0].content for example in curated.examples] == ["Question 7", "Question 8", "Question 9"]
    assert curated.report["over_user_cap"] == 7


def test_nobody_signed_in_means_the_conversation_is_counted() -> None:
    asked = [ask(name, user=None, conversation="c", prompt=name) for name in ("a", "b")]
    curated = made([*asked, tell("a", value=1.0, user=None), tell("b", value=1.0, user=None)])

    assert clusters(curated.examples) == {"conversation:c"}
