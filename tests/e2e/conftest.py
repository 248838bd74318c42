"""What several whole nights begin with."""

import shutil
from pathlib import Path

import pytest

from tests.project import make_project, nightshift


@pytest.fixture(scope="session")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with its events captured and its registry's tables made, which takes MLflow a while."""
    folder = make_project(tmp_path_factory.mktemp("captured") / "project")
    for arguments in (("import", "events.jsonl"), ("reconcile",)):
        done = nightshift(*arguments, folder=folder)
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(captured: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return shutil.copytree(captured, tmp_path / "project")
