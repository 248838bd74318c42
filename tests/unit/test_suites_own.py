"""Suites of a user's own: a file of items is read, tried and judged like the others; faults are told by line."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pytest

from evals import suites
from evals.suites import preference
from evals.suites.own import own_suites
from evals.suites.scoring import SCORERS
from evals.task import run, task_sha256
from loop import settings
from loop.cli.template import render
from loop.errors import SuiteError, UsageError
from loop.settings import Settings, SuiteSettings
from loop.types import SuiteRole
from tests.canned import Canned

README = (Path(__file__).parents[2] / "evals" / "README.md").read_text()
GUARD = '[[suites]]\nname = "sums"\nrole = "guard"\nfile = "sums.jsonl"\nscorer = "{scorer}"\n'
SUMS = [{"prompt": f"{n} and {n}?", "reference": str(2 * n)} for n in range(8)]
SCORER = "def score(item, answer):\n    return {}\n"


def project(folder: Path, *lines: object, scorer: str = "numeric", code: str = "", role: str = "guard") -> Settings:
    """Settings of a folder with one suite of these lines, and with `own.py`."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines or SUMS)
    (folder / "sums.jsonl").write_text(text + "\n")
    (folder / "own.py").write_text(code)
    (folder / "nightshift.toml").write_text(GUARD.format(scorer=scorer).replace("guard", role))
    return settings.load(folder / "nightshift.toml")


def fault(chosen: Settings) -> SuiteError:
    with pytest.raises(SuiteError) as told:
        own_suites(chosen)
    return told.value


def block(kind: str, number: int = 0) -> str:
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)[number]


def test_the_example_of_the_readme_is_two_suites(tmp_path: Path):
    (tmp_path / "suites").mkdir()
    for path, kind, number in (
        ("nightshift.toml", "toml", 0),
        ("suites/arithmetic.jsonl", "json", 0),
        ("suites/tone.jsonl", "json", 1),
        ("tone.py", "python", 0),
    ):
        (tmp_path / path).write_text(block(kind, number))
    arithmetic, tone = own_suites(settings.load(tmp_path / "nightshift.toml"))

    assert (arithmetic.name, arithmetic.role, len(arithmetic.items)) == ("arithmetic", SuiteRole.GUARD, 8)
    assert (tone.name, tone.role, len(tone.items)) == ("tone", SuiteRole.REPORT, 3)
    says = Canned("m", {"7 times 8?": "It is 56.", "Close my account.": "Sorry, sorry, sorry"})
    assert sum(score.value or 0 for score in run(arithmetic, says)) == 1.0
    assert {score.cluster: score.value for score in run(tone, says)}["leaving"] == 0.5


def test_the_readme_and_the_settings_name_every_scorer():
    rows = README.partition("| scorer |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", rows, re.MULTILINE)) == set(SCORERS)
    assert all(f"`{name}`" in " ".join(render(Settings()).replace("#", "").split()) for name in SCORERS)


def test_an_item_has_a_cluster_and_an_id_of_its_own_unless_the_line_says_otherwise(tmp_path: Path):
    named = {"prompt": "2 and 2?", "reference": ["4", "four 4"], "id": "two", "cluster": "ann"}
    (suite,) = own_suites(project(tmp_path, *SUMS, named))
    by_id = {item.item_id: item for item in suite.items}

    assert (by_id["two"].cluster, by_id["two"].references) == ("ann", ("4", "four 4"))
    assert all(item.cluster == item.item_id for name, item in by_id.items() if name != "two")


def test_a_suite_is_the_same_in_another_order_of_its_lines_and_another_one_with_other_content(tmp_path: Path):
    def sha256(*lines: object, **other: str) -> str:
        return task_sha256(own_suites(project(tmp_path, *lines, **other))[0])

    first = sha256(*SUMS)
    assert sha256(*SUMS[::-1]) == first
    assert sha256(*SUMS[1:], {"prompt": "0 and 1?", "reference": "1"}) != first
    own = sha256(scorer="own:score", code=SCORER.format(1))
    assert sha256(scorer="own:score", code=SCORER.format(1)) == own
    assert sha256(scorer="own:score", code=SCORER.format(0.5)) != own


def test_a_changed_scorer_counts_also_in_a_process_that_has_loaded_it_before(tmp_path: Path):
    for score in (0.25, 0.75):
        (suite,) = own_suites(project(tmp_path, scorer="own:score", code=SCORER.format(score)))
        assert {each.value for each in run(suite, Canned("m"))} == {score}


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("{", "truncated"),
        ({"reference": "1"}, "prompt"),
        ({"prompt": "", "reference": "1"}, "prompt"),
        ({"prompt": [], "reference": "1"}, "prompt"),
        ({"prompt": "a", "refrence": "1"}, "refrence"),
        ({"prompt": [{"role": "assistant", "content": "hi"}], "reference": "1"}, "ends with an answer"),
        ({"prompt": "a", "verifiers": [{"kind": "regex", "target": "("}]}, "regex cannot check"),
        ({"prompt": "a", "verifiers": [{"kind": "taste", "target": "x"}]}, "taste"),
        ({"prompt": "a"}, "nothing to judge by"),
        ({"prompt": "a", "reference": "none"}, "nothing to judge by"),
        (SUMS[0], "the id of line 1"),
    ],
)
def test_a_line_that_is_no_item_is_told_with_its_number(tmp_path: Path, line: object, named: str):
    told = fault(project(tmp_path, *SUMS, "", line))
    assert told.what.startswith(f"{tmp_path}/sums.jsonl:10: ")
    assert named in told.what
    assert told.remedy


def test_a_file_that_is_not_there_and_one_without_items_are_told(tmp_path: Path):
    assert "sums.jsonl has no item" in fault(project(tmp_path, "")).what
    chosen = project(tmp_path)
    (tmp_path / "sums.jsonl").unlink()
    assert f"{tmp_path}/sums.jsonl: No such file" in fault(chosen).what


def test_a_guard_that_no_candidate_could_pass_is_refused_and_a_report_may_be_as_small(tmp_path: Path):
    assert "2 clusters, and `min_clusters` under [gate] asks for 8" in fault(project(tmp_path, *SUMS[:2])).what
    assert len(own_suites(project(tmp_path, *SUMS[:2], role="report"))[0].items) == 2


@pytest.mark.parametrize(
    ("scorer", "code", "named"),
    [
        ("taste", "", "there is no scorer 'taste'"),
        ("own:score", "", "own.py has no function 'score'"),
        ("absent:score", "", "there is no module absent"),
        ("own:score", "import absent\n", "own.py:1: ModuleNotFoundError"),
        ("own:score", "def score(\n", "own.py:1: SyntaxError"),
        ("own:score", "x = 1\n\ndef score(item):\n    return 1\n", "own.py:3: it cannot be called"),
        ("own:score", SCORER.format("1 / 0"), "own.py:2: ZeroDivisionError: division by zero"),
        ("own:score", "import json\n\n" + SCORER.format("json.loads('')"), "own.py:4: JSONDecodeError"),
        ("own:score", SCORER.format("2"), "own.py:1: it gives 2"),
        ("own:score", SCORER.format("None"), "own.py:1: it gives None"),
        ("own:score", SCORER.format("'good'"), "own.py:1: it gives 'good'"),
    ],
)
def test_a_scorer_that_cannot_judge_is_told_with_file_and_line(tmp_path: Path, scorer: str, code: str, named: str):
    assert named in fault(project(tmp_path, scorer=scorer, code=code)).what


def test_a_scorer_that_fails_on_a_models_answer_leaves_a_missing_score_and_says_where(tmp_path: Path, caplog):
    code = "def score(item, answer):\n    return 1 / 0 if answer == 'hm' else 1\n"
    (suite,) = own_suites(project(tmp_path, scorer="own:score", code=code))

    assert {score.value for score in run(suite, Canned("m"))} == {None}
    assert "own.py:2: ZeroDivisionError" in caplog.text


def test_a_fixed_file_cannot_show_a_gain(tmp_path: Path):
    with pytest.raises(UsageError, match="evidence again every night") as refused:
        project(tmp_path, role="superiority")
    assert 'role = "guard"' in refused.value.remedy


def test_names_are_given_once_and_those_of_every_night_are_taken(tmp_path: Path):
    chosen = project(tmp_path)
    twice = (tmp_path / "nightshift.toml").read_text() * 2
    (tmp_path / "twice.toml").write_text(twice)
    with pytest.raises(UsageError, match="two suites are called sums"):
        settings.load(tmp_path / "twice.toml")
    (tmp_path / "taken.toml").write_text(twice[: len(twice) // 2].replace("sums", "answers"))
    assert "every night is called answers" in fault(settings.load(tmp_path / "taken.toml")).what
    every_night = suites.held_out((), (), chosen.evaluation, 0)
    made = {task.name for task in every_night}
    assert made | {preference.implicit_reward(every_night[3], (), {}).suite} == suites.NAMES


@pytest.mark.parametrize(
    ("changed", "named"),
    [(("file", "fil"), "suites.0.fil"), (("numeric", ""), "suites.0.scorer"), (("sums", "a b"), "suites.0.name")],
)
def test_a_wrong_key_of_a_suite_is_named(tmp_path: Path, changed: tuple[str, str], named: str):
    project(tmp_path)
    path = tmp_path / "nightshift.toml"
    path.write_text(path.read_text().replace(*changed))
    with pytest.raises(UsageError, match=re.escape(named)):
        settings.load(path)


def test_suites_are_in_the_policy_by_name_and_a_project_without_them_has_the_policy_it_had(tmp_path: Path):
    stored = {"sums": {"role": "guard", "file": "sums.jsonl", "scorer": "numeric"}}
    assert settings.policy(project(tmp_path))["suites"] == stored
    assert {"suites", "project"} & settings.policy(Settings()).keys() == set()


def test_a_stored_policy_is_restored_with_its_suites_where_the_project_lies(tmp_path: Path):
    chosen = project(tmp_path)
    stored = json.loads(json.dumps(settings.policy(chosen)))
    without = replace(chosen, suites=())
    assert settings.restored(stored, without) == chosen
    keys = tuple(f"suites.sums.{key}" for key in ("file", "role", "scorer"))
    assert settings.differences(stored, settings.policy(without)) == keys
    stored["suites"]["sums"] = "damaged"
    with pytest.raises(UsageError, match=r"suites\.0"):
        settings.restored(stored, without)


def test_one_suite_is_not_set_by_a_flag():
    with pytest.raises(UsageError, match=r"suites\.file cannot be set alone"):
        settings.load(overrides={"suites.file": "x"})


def test_the_written_settings_have_an_example_and_keep_the_suites_there_are(tmp_path: Path):
    assert "# [[suites]]" in render(Settings())
    chosen = project(tmp_path)
    (tmp_path / "again.toml").write_text(render(chosen))
    assert settings.load(tmp_path / "again.toml").suites == chosen.suites
    uncommented = re.sub(r"^# (?=\[\[suites\]\]$|\w+ = )", "", render(Settings()), flags=re.MULTILINE)
    (tmp_path / "example.toml").write_text(uncommented)
    (example,) = settings.load(tmp_path / "example.toml").suites
    assert set(get_type_hints(SuiteSettings)) == {"name", "role", "file", "scorer"}
    assert example.name == "tone"
