"""A night that cannot be finished does not stand in the way of the next one."""

from tests.project import nightshift


def test_a_training_that_fails_closes_its_night_and_the_next_one_is_a_new_one(project):
    failed = nightshift("--set", "training.max_tokens=1", "run", "--as-of", "2026-01-03T00:00", folder=project)
    assert failed.returncode == 1, failed.stderr
    assert "night-0001 FAILED" in failed.stdout
    assert "what to do" in failed.stdout
    again = nightshift("run", "--as-of", "2026-01-04T00:00", folder=project)
    assert again.returncode in {0, 3}, again.stderr
    assert "night-0002" in again.stdout


def test_a_training_that_learns_nothing_closes_its_night_and_says_what_to_do(project):
    failed = nightshift("--set", "training.learning_rate=0", "run", "--as-of", "2026-01-03T00:00", folder=project)
    assert failed.returncode == 1, failed.stderr
    assert "Traceback" not in failed.stderr
    assert "night-0001 FAILED" in failed.stdout
    assert "raise `learning_rate`" in failed.stdout


def test_an_interrupted_night_can_be_given_up(project):
    damaged = nightshift("--set", "model.base=absent", "run", "--as-of", "2026-01-03T00:00", folder=project)
    assert damaged.returncode == 5, damaged.stderr
    resumed = nightshift("--set", "model.base=absent", "run", "--as-of", "2026-01-04T00:00", folder=project)
    assert "night-0001 of 2026-01-03" in resumed.stderr
    fresh = nightshift("run", "--as-of", "2026-01-04T00:00", "--abandon", "wrong base", folder=project)
    assert fresh.returncode in {0, 3}, fresh.stderr
    listed = nightshift("nights", folder=project).stdout.splitlines()
    assert "FAILED" in listed[0]
    assert "abandoned: wrong base" in listed[0]
    assert "2026-01-04" in listed[1]
