"""Settings: the file, the environment and --set become one frozen value, and nothing wrong gets through."""

import json
import tomllib
from pathlib import Path

import pytest

from loop import settings
from loop.cli.template import FIRST, MARK, render
from loop.errors import UsageError
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


def test_every_key_of_the_template_is_explained_right_above_it():
    lines = TEMPLATE.splitlines()
    keys = [number for number, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) == sum(len(section) for section in tomllib.loads(TEMPLATE).values())
    assert all(lines[number - 1].startswith("# ") for number in keys)
    assert max(len(line) for line in lines if line.startswith("#")) <= 80


def comment_of(key: str) -> str:
    """What stands above a key of the template."""
    section, _, name = key.partition(".")
    before = TEMPLATE.partition(f"[{section}]\n")[2].partition(f"\n{name} = ")[0].splitlines()
    after = next((number for number in range(len(before), 0, -1) if not before[number - 1].startswith("#")), 0)
    return " ".join(line.removeprefix("# ") for line in before[after:])


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("model.dtype", 'One of "float32", "bfloat16".'),
        ("training.pair_loss", 'One of "dpo", "conservative", "robust", "ipo", "apo_zero", "simpo".'),
        ("curation.dev_share", "A number, 0 to 1."),
        ("training.rank", "A whole number, 1 or more."),
        ("training.seed", "A whole number, 0 to 4294967295."),
        ("gate.alpha", "A number, 1e-06 to 0.5."),
        ("gate.promote", "true or false."),
        ("log.compression", 'One of "none", "gzip", "lz4", "zstd".'),
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
        ("curation.dev_share", 1.5),
        ("training.rank", 0),
        ("training.beta", 0.0),
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


def test_four_bits_are_not_divided_over_processes():
    with pytest.raises(UsageError, match=r"training\.shard and training\.quantize") as refused:
        settings.load(overrides={"training.shard": True, "training.quantize": "nf4", "training.processes": 2})
    assert "training.processes = 1" in refused.value.remedy


def test_four_bits_in_one_process_may_name_shard():
    training = settings.load(overrides={"training.shard": True, "training.quantize": "nf4"}).training
    assert (training.shard, training.quantize) == (True, "nf4")


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
    bounds = (training.budget_tokens, evaluation.max_items, evaluation.max_pairs, evaluation.max_new_tokens)
    assert all(bounds)
    assert not training.budget_minutes
    answers = 2 * 3 * evaluation.max_items
    pairs = 2 * 2 * evaluation.max_pairs
    seconds = (
        training.budget_tokens / trained
        + answers * evaluation.max_new_tokens / written
        + (answers * 300 + pairs * (300 + evaluation.max_new_tokens)) / read
    )
    everything_else = 600
    assert seconds + everything_else < 3_600 * hours
