"""The distribution is called nightshift-loop, its command nightshift: another program is called nightshift on PyPI."""

import re
import tomllib
from pathlib import Path

import loop

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STRANGER = re.compile(r"pip install (?:-\S+ )*['\"]?nightshift(?![\w-])|\bnightshift\[\w+\]")
"""An installation of the other program, with or without an extra of ours."""


def texts() -> list[Path]:
    """Every text of the repository but this test."""
    folders = (ROOT / name for name in ("loop", "connectors", "evals", "infra", "tests", ".ci"))
    below = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    files = [path for path in (*ROOT.iterdir(), *below) if path.is_file() and path != Path(__file__)]
    return [path for path in files if path.suffix not in {".png", ".jar", ".parquet"}]


def test_no_text_installs_the_stranger_of_the_same_name():
    found = {
        f"{path.relative_to(ROOT)}: {line}"
        for path in texts()
        for line in path.read_bytes().decode(errors="ignore").splitlines()
        if STRANGER.search(line)
    }
    assert found == set()


def test_what_the_stranger_is_known_by_is_found():
    assert STRANGER.search("pip install nightshift")
    assert STRANGER.search("pip install 'nightshift[postgres]'")
    assert not STRANGER.search("pip install 'nightshift-loop[postgres]'")
    assert not STRANGER.search("pip install uv && uv venv /opt/nightshift")


def test_every_extra_that_a_text_names_exists():
    named = {
        extra
        for path in texts()
        for extra in re.findall(r"nightshift-loop\[(\w+)\]", path.read_bytes().decode(errors="ignore"))
    }
    assert named == {*PROJECT["optional-dependencies"]}


def test_the_version_is_that_of_the_package_and_the_command_keeps_its_name():
    assert (PROJECT["name"], PROJECT["version"]) == ("nightshift-loop", loop.__version__)
    assert PROJECT["scripts"] == {"nightshift": "loop.cli:main"}
