"""Settings: the file, the environment and --set become one frozen value, and nothing wrong gets through."""

import json
import tomllib
from pathlib import Path

import pytest

from loop import settings
from loop.cli.template import FIRST, MARK, render
from loop.errors import UsageError
from loop.machine import BY_RULE
from loop.settings import Settings

ROOT = Path(__file__).parents[2]
TEMPLATE = render(Settings(), kafka=True)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "nightshift.toml"
    path.write_text(text)
    return path


def test_the_written_template_loads_to_the_defaults(tmp_path):
    for kafka in (False, True):
        loaded = settings.load(write(tmp_path, render(Settings(), kafka=kafka)))
        assert settings.policy(loaded) == settings.policy(Settings())


def test_the_event_log_on_kafka_is_in_the_template_only_where_somebody_wants_it(tmp_path):
    assert "[log]" not in render(Settings())
    chosen = settings.load(overrides={"log.topic": "elsewhere"})
    assert settings.load(write(tmp_path, render(chosen))).log.topic == "elsewhere"


def test_the_shipped_settings_file_is_the_template():
    assert (ROOT / "infra" / "nightshift.toml").read_text() == render(Settings(), kafka=True)


def keys_of(tables: dict[str, object]) -> int:
    """Number of keys in all tables, also those within tables and in arrays of them."""
    count = 0
    for value in tables.values():
        if isinstance(value, dict):
            count += keys_of(value)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            count += keys_of(value[0])
        else:
            count += 1
    return count


def test_there_are_few_settings():
    sections = tomllib.loads(TEMPLATE)
    assert keys_of(sections) <= 50
    assert keys_of(sections["training"]) <= 16


def test_every_key_of_the_template_is_explained_right_above_it():
    lines = TEMPLATE.splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == keys_of(tomllib.loads(TEMPLATE))
    assert all(lines[number - 1].startswith("# ") for number in keys)
    assert max(len(line) for line in lines if line.startswith("#")) <= 80


def comment_of(key: str) -> str:
    """What stands above a key of the template."""
    section, _, name = key.rpartition(".")
    before = TEMPLATE.partition(f"[{section}]\n")[2].partition(f"\n{name} = ")[0].splitlines()
    after = next((number for number in range(len(before), 0, -1) if not before[number - 1].startswith("#")), 0)
    return " ".join(line.removeprefix("# ") for line in before[after:])


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("model.dtype", 'One of "float32", "bfloat16".'),
        ("training.pair.type", 'One of "dpo", "conservative", "robust", "ipo", "apo_zero", "simpo".'),
        ("curation.vault_share", "A number, 0 to 1."),
        ("training.rank", "A whole number, 1 or more."),
        ("training.seed", "A whole number, 0 to 4294967295."),
        ("gate.alpha", "A number, 1e-06 to 0.5."),
        ("gate.promote", "true or false."),
        ("log.partitions", "A whole number, 1 or more."),
    ],
)
def test_the_template_says_what_a_key_may_be(key, allowed):
    assert comment_of(key).endswith(allowed)


def test_what_a_newcomer_decides_first_is_asked_at_the_top_and_marked_below():
    top = TEMPLATE.partition("\n\n")[0]
    for question, keys, _ in FIRST:
        assert question in top
        for key in keys:
            section, _, name = key.partition(".")
            value = getattr(getattr(Settings(), section), name)
            assert f"{key} = {json.dumps(value)}" in top
            assert comment_of(key).startswith(MARK)
    assert TEMPLATE.count(f"# {MARK}") == sum(len(keys) for _, keys, _ in FIRST)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[trainin]\nepochs = 1", "trainin"),
        ("[training]\nepoch = 1", "training.epoch"),
        ("[training]\nlearning_rate = 1.5", "training.learning_rate"),
        ('[training]\nepochs = "many"', "training.epochs"),
        ('[model]\ndtype = "int3"', "model.dtype"),
        ('[addresses]\nhome = "/"', "addresses"),
        ("[training\n", "nightshift.toml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, text, named):
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        settings.load(write(tmp_path, text))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gate.alpha", 1.0),
        ("gate.alpha", 0.0),
        ("gate.margin", -0.1),
        ("curation.vault_share", 1.5),
        ("training.rank", 0),
        ("training.pair.beta", 0.0),
        ("training.seed", -1),
        ("training.learning_rate", float("nan")),
        ("evaluation.max_new_tokens", 0),
    ],
)
def test_a_number_out_of_its_bounds_is_refused_by_name(key, value):
    with pytest.raises(UsageError, match=key):
        settings.load(overrides={key: value})


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "it's", "two words", "@1"])
def test_a_name_that_the_registry_would_refuse_is_refused_here(name):
    with pytest.raises(UsageError, match=r"model\.name"):
        settings.load(overrides={"model.name": name})


def test_held_out_users_have_to_leave_some_to_train_on():
    with pytest.raises(UsageError, match="vault_share"):
        settings.load(overrides={"curation.dev_share": 0.5, "curation.vault_share": 0.5})


@pytest.mark.parametrize(
    ("chosen", "other"),
    [
        ({"curation.replay": 0.2, "curation.max_examples": 0}, "curation.max_examples = 0"),
        ({"validation.max_quarantined_share": 0.5, "curation.burst_factor": 0}, "curation.burst_factor = 0"),
    ],
)
def test_a_key_without_effect_is_refused_with_the_one_that_takes_it(chosen, other):
    without_effect, _ = chosen
    with pytest.raises(UsageError, match=rf"{without_effect} has no effect, {other}"):
        settings.load(overrides=chosen)
    assert settings.load(overrides={other.split(" = ")[0]: 0})


def test_a_key_of_a_table_within_a_section_can_be_set_alone(tmp_path):
    loaded = settings.load(write(tmp_path, "[training.pair]\nbeta = 0.2"), {"training.pair.type": "ipo"})
    assert (loaded.training.pair.type, loaded.training.pair.beta) == ("ipo", 0.2)
    assert loaded.training.unpaired.type == "bco"


@pytest.mark.parametrize("key", ["training.pair.gamma", "training.unpaired.beta", "training.rank.beta"])
def test_a_key_that_its_table_lacks_is_refused_by_name(tmp_path, key):
    with pytest.raises(UsageError, match=key.replace(".", r"\.")):
        settings.load(write(tmp_path, "[training]\nrank = 4"), {key: "0.2"})


def test_a_stored_policy_is_restored_as_it_was():
    chosen = settings.load(overrides={"training.pair.type": "simpo", "gate.promote": False, "model.name": "desk"})
    stored = json.loads(json.dumps(settings.policy(chosen)))
    assert settings.restored(stored, Settings(addresses=chosen.addresses)) == chosen
    assert settings.differences(stored, settings.policy(chosen)) == ()
    assert settings.differences(stored, settings.policy(Settings())) == (
        "gate.promote",
        "model.name",
        "training.pair.type",
    )


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(UsageError, match=r"absent\.toml"):
        settings.load(tmp_path / "absent.toml")


def test_an_override_wins_over_the_file_and_is_converted(tmp_path):
    loaded = settings.load(write(tmp_path, "[training]\nepochs = 1\nrank = 4"), {"training.epochs": "2.5"})
    assert (loaded.training.epochs, loaded.training.rank) == (2.5, 4)


def test_addresses_come_from_the_environment_alone():
    found = settings.addresses({"NIGHTSHIFT_HOME": "/srv/night", "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"})
    assert found.home == Path("/srv/night")
    assert found.mlflow_uri == "http://127.0.0.1:5000"
    assert found.store_url is None


def test_secrets_never_reach_the_policy_stored_with_a_candidate():
    assert "addresses" not in settings.policy(Settings())


@pytest.mark.parametrize(
    ("trained", "read", "written", "hours"),
    [(70, 500, 130, 2), (200, 1_400, 240, 1)],
    ids=["AVX2", "AVX-512"],
)
def test_a_first_night_of_the_default_model_ends_in_time_however_long_the_log_is(trained, read, written, hours):
    """Tokens a second of SmolLM2-135M on two cores; prompts of 300 tokens, every answer as long as it may be."""
    training, evaluation = Settings().training, Settings().evaluation
    bounds = (training.budget_tokens, evaluation.max_items, BY_RULE.max_pairs, evaluation.max_new_tokens)
    assert all(bounds)
    assert not training.budget_minutes
    answers = 2 * 3 * evaluation.max_items
    pairs = 2 * 2 * BY_RULE.max_pairs
    seconds = (
        training.budget_tokens / trained
        + answers * evaluation.max_new_tokens / written
        + (answers * 300 + pairs * (300 + evaluation.max_new_tokens)) / read
    )
    everything_else = 600
    assert seconds + everything_else < 3_600 * hours
