from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForCausalLM, LlamaConfig

from loop.errors import UsageError
from loop.models import find, load_base
from loop.models.convert import convert_gguf
from tests.tiny import adapted, tiny_gguf, tiny_model

WEIGHTS = "model.safetensors"
METADATA = {"format": "pt"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def add(model: Path, **weights: torch.Tensor) -> None:
    save_file({**load_file(model / WEIGHTS), **weights}, model / WEIGHTS, METADATA)


def say(model: Path, **configuration: int) -> None:
    LlamaConfig.from_pretrained(model, **configuration).save_pretrained(model)


def refused(folder: Path) -> str:
    with pytest.raises(UsageError) as error:
        load_base(folder, torch.float32)
    assert str(folder) in error.value.what
    return error.value.what


@pytest.mark.parametrize("configuration", [{"num_hidden_layers": 3}, {"intermediate_size": 96}], ids=str)
def test_weights_that_would_be_made_up_are_refused(model: Path, configuration: dict[str, int]) -> None:
    say(model, **configuration)
    assert "missing or do not fit" in refused(model)


def test_layers_that_would_be_cut_off_are_refused(model: Path) -> None:
    say(model, num_hidden_layers=1)
    assert "has no place for 9 of its weights: model.layers.1.input_layernorm.weight" in refused(model)


@pytest.mark.parametrize("head", [True, False], ids=["with a head", "without"])
def test_a_bias_that_would_be_dropped_is_refused(model: Path, head: bool) -> None:
    if not head:
        AutoModel.from_pretrained(model).save_pretrained(model)
    bias = f"{'model.' if head else ''}layers.0.self_attn.q_proj.bias"
    add(model, **{bias: torch.ones(64)})
    assert f"has no place for 1 of its weights: {bias}" in refused(model)


def test_what_belongs_to_no_layer_of_the_model_may_stand_beside_it(model: Path) -> None:
    whole = load_base(model, torch.float32).state_dict()
    add(
        model,
        **{
            "vision_tower.layers.0.weight": torch.ones(3),
            "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8),
            "model.layers.0.self_attn.masked_bias": torch.ones(1),
        },
    )
    torch.testing.assert_close(load_base(model, torch.float32).state_dict(), whole, rtol=0, atol=0)


def test_a_folder_with_an_adapter_is_refused_for_another_model_would_be_loaded(model: Path) -> None:
    adapted(AutoModelForCausalLM.from_pretrained(model)).save_pretrained(model)
    assert "holds an adapter" in refused(model)


def test_a_gguf_file_becomes_the_model_it_was_written_from(model: Path, tmp_path: Path) -> None:
    found = find(str(tiny_gguf(tmp_path / "tiny.gguf", model)), tmp_path / "cache")
    wanted = load_base(model, torch.bfloat16).state_dict()
    torch.testing.assert_close(load_base(found, torch.bfloat16).state_dict(), wanted, rtol=0, atol=0)


def test_a_folder_that_cannot_be_written_is_not_told_as_a_damaged_file(model: Path, tmp_path: Path) -> None:
    (tmp_path / "occupied").touch()
    with pytest.raises(NotADirectoryError):
        convert_gguf(tiny_gguf(tmp_path / "tiny.gguf", model), tmp_path / "occupied" / "folder")


@pytest.mark.parametrize("tensor", ["blk.1.ffn_up.weight", "token_embd.weight"])
def test_a_gguf_file_that_lacks_weights_is_refused_and_leaves_nothing(model: Path, tmp_path: Path, tensor: str) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", model, without=tensor)
    with pytest.raises(UsageError, match="missing or do not fit"):
        find(str(file), tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*/")) == []
