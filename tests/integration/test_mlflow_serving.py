"""A registered version where only MLflow and the libraries are: loaded, served, and refused where it must be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from connectors.mlflow.registry import MlflowRegistry
from loop.hashing import adapter_sha256, candidate_id
from loop.models import fingerprint, load
from loop.models.quiet import quiet
from loop.ports import BASE_MODEL, DTYPE
from loop.testing import MemoryLedger
from loop.types import Candidate, Message, Sampling
from tests.registry_server import running, status
from tests.served import foreign_environment, foreign_python
from tests.services import free_port
from tests.tiny import adapted, tiny_model

QUESTION = "Where is my order?"
CONVERSATION = [{"role": "system", "content": "Be short."}, {"role": "user", "content": QUESTION}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a tiny base model and one registered version of it."""
    folder = tmp_path_factory.mktemp("served")
    base = tiny_model(folder / "base")
    adapted(AutoModelForCausalLM.from_pretrained(base)).save_pretrained(folder / "adapter")
    sha256 = adapter_sha256(folder / "adapter")
    candidate = Candidate(
        candidate_id=candidate_id(sha256),
        job_id="job",
        snapshot_id="snapshot",
        parent_version=0,
        adapter_sha256=sha256,
        parent_sha256=None,
        base_fingerprint=fingerprint(base),
        settings={},
        metrics={},
    )
    tags = {BASE_MODEL: str(base), DTYPE: "float32"}
    assert registry(folder).register(candidate, folder / "adapter", tags) == 1
    return folder


def registry(folder: Path) -> MlflowRegistry:
    return MlflowRegistry(f"sqlite:///{folder}/mlflow.db", "assistant", folder / "versions", MemoryLedger())


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return foreign_python(tmp_path_factory.mktemp("foreign") / "venv")


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[str]:
    """What `nightshift ask` answers: alone, and after a system message."""
    model = load(folder / "base", dtype="float32", adapter=registry(folder).fetch(1))
    asked = [Message("user", QUESTION)], [Message(**message) for message in CONVERSATION]
    return [model.generate([messages], Sampling(max_tokens=16))[0].text for messages in asked]


def loaded(python: Path, folder: Path, program: str, **named: str) -> "subprocess.CompletedProcess[str]":
    """A program in which `model` is the version, loaded with nothing but the tracking URI."""
    opened = f"import mlflow\nmodel = mlflow.pyfunc.load_model('models:/assistant/1')\n{program}"
    named = {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", **named}
    environment = foreign_environment(python.parents[1], **named)
    return subprocess.run(
        [python, "-c", opened], cwd=python.parents[1], env=environment, capture_output=True, text=True, check=False
    )


def test_mlflow_loads_a_version_by_its_address_alone_and_it_answers_as_ask_does(
    python: Path, folder: Path, expected: list[str]
) -> None:
    program = f"""
import json, sys, pandas
short, asked, said = {{"max_tokens": 16}}, {QUESTION!r}, {CONVERSATION!r}
print(json.dumps([
    model.predict({{"prompt": asked}}, params=short),
    model.predict({{"messages": said}}, params=short),
    model.predict(pandas.DataFrame({{"messages": [said]}}), params=short),
    model.predict([{{"messages": [{{"role": "user", "content": asked}}]}}], params=short),
]))
assert not [name for name in sys.modules if name.partition(".")[0] in ("loop", "connectors", "evals")]
"""
    done = loaded(python, folder, program)
    assert done.returncode == 0, done.stderr
    alone, after_system = expected
    answers = json.loads(done.stdout.splitlines()[-1])
    assert answers == [[alone], [after_system], [after_system], [alone]]
    assert alone != after_system


@pytest.fixture
def address(python: Path, folder: Path) -> Iterator[str]:
    """`mlflow models serve`, with the tracking URI alone."""
    port = str(free_port())
    command = [python.with_name("mlflow"), "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", "models:/assistant/1", "--port", port]
    environment = foreign_environment(python.parents[1], MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db")
    with running(command, environment, python.parents[1], f"http://127.0.0.1:{port}/ping"):
        yield f"http://127.0.0.1:{port}/invocations"


def invoke(address: str, body: object) -> object:
    code, said = status(address, {}, json.dumps(body).encode())
    assert code == 200, said
    return json.loads(said)


def test_mlflow_serves_a_version_and_it_answers_as_ask_does(address: str, expected: list[str]) -> None:
    alone, after_system = expected
    assert invoke(address, {"messages": CONVERSATION, "max_tokens": 16}) == [after_system]
    rows = [{"messages": [{"role": "user", "content": QUESTION}]}]
    assert invoke(address, {"dataframe_records": rows, "params": {"max_tokens": 16}}) == {"predictions": [alone]}


def test_a_base_model_that_is_not_there_is_named_and_so_is_the_variable_that_says_where(
    python: Path, folder: Path, tmp_path: Path
) -> None:
    (folder / "base").rename(folder / "moved")
    try:
        missing = loaded(python, folder, "")
        moved = loaded(python, folder, "print('loaded')", NIGHTSHIFT_BASE_MODEL=str(folder / "moved"))
    finally:
        (folder / "moved").rename(folder / "base")
    assert missing.returncode == 1
    assert f"{folder}/base of this version cannot be had" in missing.stderr
    assert "set NIGHTSHIFT_BASE_MODEL to the folder" in missing.stderr
    assert moved.stdout == "loaded\n", moved.stderr
    other = tiny_model(tmp_path / "other", seed=1)
    refused = loaded(python, folder, "", NIGHTSHIFT_BASE_MODEL=str(other))
    assert "is not the base model of this version" in refused.stderr


def test_an_adapter_altered_in_the_registry_is_not_loaded(python: Path, folder: Path) -> None:
    (stored,) = (folder / "mlflow-artifacts").rglob("adapter_model.safetensors")
    whole = stored.read_bytes()
    stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        refused = loaded(python, folder, "")
    finally:
        stored.write_bytes(whole)
    assert refused.returncode == 1
    assert "does not have its sha256" in refused.stderr


def test_a_question_without_messages_is_told_how_to_ask(python: Path, folder: Path) -> None:
    refused = loaded(python, folder, "model.predict('Where is my order?')")
    assert refused.returncode == 1
    assert "give a column `messages`" in refused.stderr


def test_a_versions_files_are_a_stock_adapter_and_nothing_is_pickled(folder: Path) -> None:
    fetched = registry(folder).fetch(1)
    base = AutoModelForCausalLM.from_pretrained(folder / "base")
    ids = torch.tensor([[5, 6, 7]])
    with quiet():
        theirs = PeftModel.from_pretrained(base, fetched)(ids).logits
    ours = load(folder / "base", dtype="float32", adapter=fetched).model(ids.to("cpu")).logits
    assert torch.allclose(theirs, ours.cpu(), atol=1e-4)
    kinds = {path.suffix for path in fetched.rglob("*") if path.is_file()}
    assert kinds <= {".py", ".json", ".safetensors", ".txt", ".yaml", ".md", ""}


def test_registering_a_version_imports_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from connectors.mlflow.pyfunc import write_model\n"
        "from tests.candidates import make_candidate\n"
        f"candidate = make_candidate(Path('{tmp_path}/a'), 'a')\n"
        f"write_model(Path('{tmp_path}/a'), candidate, 'hub/name', 'bfloat16')\n"
        "print(sorted({'torch', 'transformers', 'mlflow.pyfunc'} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    pins = (tmp_path / "a" / "requirements.txt").read_text().splitlines()
    assert {"gguf", "jinja2", "mlflow", "peft", "safetensors", "torch", "transformers"} <= {
        pin.partition("==")[0] for pin in pins
    }
    assert not [pin for pin in pins if "+" in pin]
