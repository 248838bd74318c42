"""Settings of an earlier version: named by every command, refused by those that train or judge, rewritten by one."""

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from loop import settings
from loop.errors import UsageError
from loop.hashing import digest
from loop.settings import Settings, older
from loop.settings.migrate import migrated
from tests import forked

WRITTEN = """\
# The LoRA fine-tune.
[training]
# Peak of AdamW's learning rate.
# A number, 0 to 1.
learning_rate = 0.001
# Share of the training, at its beginning, in which the learning rate rises to
# its peak.
# A number, 0 to 1.
warmup_share = 0.05
# we disagree about half of our tickets, see the wiki
weight_decay = 0.0
# Loss of pairs; `conservative` and `robust` are DPO for users who disagree.
# One of "dpo", "conservative", "robust", "ipo", "apo_zero", "simpo".
pair_loss = "ipo"
beta = 0.3  # tried .1 and .3
# Weight of the KL to the champion.
anchor = 0.01
patience = 3

[log]
topic = "desk"
batch_events = 500
"""
REWRITTEN = """\
# The LoRA fine-tune.
[training]
# Peak of AdamW's learning rate.
# A number, 0 to 1.
learning_rate = 0.001
# we disagree about half of our tickets, see the wiki
# Loss of pairs; `conservative` and `robust` are DPO for users who disagree.
# One of "dpo", "conservative", "robust", "ipo", "apo_zero", "simpo".
pair.type = "ipo"
pair.beta = 0.3  # tried .1 and .3
# Weight of the KL to the champion.
kl_coefficient = 0.01

[log]
topic = "desk"
"""


TRAINING = "0e81a73e57a5bf4db0b95ba578ca311dd712fadf282716edc554d54933e5a254"
CURATION = "156cf5d4f14cd34d92137d573aa35c8b4c203772863e3f000a24eebb0953cb5f"


def write(folder: Path, text: str) -> Path:
    path = folder / "nightshift.toml"
    path.write_text(text)
    return path


def nightshift(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    return forked.completed(arguments, folder, os.environ)


def test_every_older_key_has_one_fate_and_none_is_a_key_of_today():
    tables = (older.MOVED, older.FIXED, older.CHOSEN, older.GONE)
    keys = [key for table in tables for key in table]
    assert len(keys) == len(set(keys))
    today = {key for key, _ in settings.file._leaves(settings.policy(Settings()))}
    assert not today & set(keys)
    assert set(older.MOVED.values()) <= today


def test_what_has_become_of_each_key_is_told_and_its_value_is_moved(tmp_path):
    loaded = settings.load(write(tmp_path, WRITTEN))
    assert (loaded.training.pair.type, loaded.training.pair.beta, loaded.training.kl_coefficient) == ("ipo", 0.3, 0.01)
    told = settings.told(loaded)
    assert "training.beta is training.pair.beta now" in told
    assert "training.warmup_share is fixed at 0.15 now" in told
    assert "training.patience is gone" in told
    assert [each.key for each in loaded.older if not each.changes] == [
        "training.weight_decay",
        "training.pair_loss",
        "training.beta",
        "training.anchor",
    ]
    with pytest.raises(UsageError, match=r"training\.beta is training\.pair\.beta now") as refused:
        settings.require_current(loaded)
    assert "nightshift init --migrate" in refused.value.remedy
    settings.require_current(Settings())


def test_a_rule_that_chooses_is_told_with_the_key_that_chose_before():
    loaded = settings.load(overrides={"training.processes": "4"})
    assert (
        settings.told(loaded) == "training.processes is chosen by rule now: one for each GPU, one on a machine without"
    )


def test_of_two_names_of_one_setting_todays_counts():
    loaded = settings.load(overrides={"training.beta": 0.3, "training.pair.beta": 0.2})
    assert loaded.training.pair.beta == 0.2


def test_a_moved_value_is_checked_like_any_other():
    with pytest.raises(UsageError, match=r"training\.pair\.type"):
        settings.load(overrides={"training.pair_loss": "dpoo"})


def test_a_file_is_rewritten_with_what_its_user_wrote_around_the_keys():
    done = migrated(WRITTEN)
    assert done.text == REWRITTEN
    assert migrated(done.text) == (type(done))(REWRITTEN, ())


def test_a_comment_of_ones_own_stays_also_between_two_keys_that_go():
    written = "# Weight decay of AdamW.\n# A number, 0 or more.\n"
    text = f'[training]\n{written}weight_decay = 0.0\n# mine\nlayout = "rows"\n{written}max_grad_norm = 2.0\nrank = 4\n'
    assert migrated(text).text == "[training]\n# mine\nrank = 4\n"


def test_a_value_joins_the_table_that_is_there_already():
    text = '[training]\nbeta = 0.3\n\n[training.pair]\n# mine\ntype = "ipo"\n'
    assert migrated(text).text == '[training]\n\n[training.pair]\nbeta = 0.3\n# mine\ntype = "ipo"\n'


def test_suites_stay_as_they_are():
    suite = '[[suites]]\n# mine\nname = "tone"\nrole = "guard"\nfile = "tone.jsonl"\n'
    text = "[log]\nbatch_events = 500\n\n" + suite + "\n" + suite.replace("tone", "sums")
    assert migrated(text).text == text.replace("batch_events = 500\n", "")


def test_dotted_keys_without_a_section_are_rewritten_too():
    assert migrated("training.beta = 0.3\ntraining.rank = 4\n").text == "training.pair.beta = 0.3\ntraining.rank = 4\n"


def test_what_lines_do_not_show_is_not_guessed_at():
    with pytest.raises(UsageError, match="cannot be rewritten safely") as refused:
        migrated("training = { beta = 0.3, rank = 4 }\n")
    assert "training.beta is training.pair.beta now" in refused.value.remedy


@pytest.mark.parametrize(
    "verb", [("run",), ("train", "s"), ("evaluate", "c"), ("decide", "e"), ("curate",), ("validate", "s")]
)
def test_a_verb_that_trains_or_judges_stops_at_once_and_names_the_new_key(tmp_path, verb):
    write(tmp_path, WRITTEN)
    done = nightshift(*verb, folder=tmp_path)
    assert done.returncode == 2
    assert "training.beta is training.pair.beta now" in done.stderr
    assert "nightshift init --migrate" in done.stderr
    assert not (tmp_path / ".nightshift").exists()


def test_other_verbs_say_it_once_and_go_on(tmp_path):
    write(tmp_path, WRITTEN)
    for verb in ("status", "history", "nights"):
        done = nightshift(verb, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("training.beta is training.pair.beta now") == 1


def test_doctor_tells_by_day_what_would_stop_the_night(tmp_path):
    write(tmp_path, WRITTEN)
    done = nightshift("--json", "doctor", folder=tmp_path)
    assert done.returncode == 1
    [found] = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "settings"]
    assert not found["ok"]
    assert "nightshift init --migrate" in found["text"]


def test_init_migrates_the_file_once_and_keeps_it_as_it_was(tmp_path):
    path = write(tmp_path, WRITTEN)
    done = nightshift("init", "--migrate", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert path.read_text() == REWRITTEN
    assert (tmp_path / "nightshift.toml.before-1").read_text() == WRITTEN
    assert "training.warmup_share is fixed at 0.15 now (it was 0.05)" in done.stdout
    assert "training.weight_decay is fixed at 0.0 now\n" in done.stdout
    again = nightshift("init", "--migrate", folder=tmp_path)
    assert again.returncode == 0
    assert "has today's keys already" in again.stdout
    assert sorted(file.name for file in tmp_path.iterdir()) == ["nightshift.toml", "nightshift.toml.before-1"]


def test_a_file_of_another_name_is_migrated_where_it_is(tmp_path):
    (tmp_path / "other.toml").write_text(WRITTEN)
    assert nightshift("--config", "other.toml", "init", "--migrate", folder=tmp_path).returncode == 0
    assert tomllib.loads((tmp_path / "other.toml").read_text())["training"]["pair"]["type"] == "ipo"


def test_ids_are_those_that_the_same_settings_have_had_before():
    """Digests of the defaults when each of today's constants was a setting."""
    assert digest(settings.hashed_training(Settings().training)) == TRAINING
    assert digest(settings.of_curation(Settings().curation)) == CURATION
