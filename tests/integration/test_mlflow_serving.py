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


PROGRAM = """
import json, os, pathlib, sys, traceback
import mlflow, pandas

folder, other, asked, said = pathlib.Path(sys.argv[1]), *json.loads(sys.argv[2])

def load():
    return mlflow.pyfunc.load_model("models:/assistant/1")

def fault(call, *arguments, **base):
    os.environ.update(base)
    try:
        call(*arguments)
    except Exception:
        return traceback.format_exc()
    finally:
        os.environ.pop("NIGHTSHIFT_BASE_MODEL", None)

model = load()
short = {"max_tokens": 16}
answers = [
    model.predict({"prompt": asked}, params=short),
    model.predict({"messages": said}, params=short),
    model.predict(pandas.DataFrame({"messages": [said]}), params=short),
    model.predict([{"messages": [{"role": "user", "content": asked}]}], params=short),
]
ours = [name for name in sys.modules if name.partition(".")[0] in ("loop", "connectors", "evals")]
told = {"answers": answers, "ours": ours, "no messages": fault(model.predict, asked)}
(folder / "base").rename(folder / "moved")
told["no base"] = fault(load)
told["moved base"] = fault(load, NIGHTSHIFT_BASE_MODEL=str(folder / "moved"))
told["other base"] = fault(load, NIGHTSHIFT_BASE_MODEL=other)
(folder / "moved").rename(folder / "base")
stored, = (folder / "mlflow-artifacts").rglob("adapter_model.safetensors")
whole = stored.read_bytes()
stored.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
told["altered adapter"] = fault(load)
stored.write_bytes(whole)
told["mended adapter"] = fault(load)
print(json.dumps(told))
"""
"""Loads the version with nothing but the tracking URI, asks it, and loads it again where something is amiss."""


@pytest.fixture(scope="module")
def told(python: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What `PROGRAM` says; one for all tests, since importing these libraries takes ten times as long as the rest."""
    other = tiny_model(tmp_path_factory.mktemp("other") / "base", seed=1)
    environment = foreign_environment(python.parents[1], MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db")
    done = subprocess.run(
        [python, "-c", PROGRAM, folder, json.dumps([str(other), QUESTION, CONVERSATION])],
        cwd=python.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_mlflow_loads_a_version_by_its_address_alone_and_it_answers_as_ask_does(
    told: dict[str, object], expected: list[str]
) -> None:
    alone, after_system = expected
    assert told["answers"] == [[alone], [after_system], [after_system], [alone]]
    assert alone != after_system
    assert told["ours"] == []


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
    told: dict[str, object], folder: Path
) -> None:
    assert f"{folder}/base of this version cannot be had" in str(told["no base"])
    assert "set NIGHTSHIFT_BASE_MODEL to the folder" in str(told["no base"])
    assert told["moved base"] is None
    assert "is not the base model of this version" in str(told["other base"])


def test_an_adapter_altered_in_the_registry_is_not_loaded(told: dict[str, object]) -> None:
    assert "does not have its sha256" in str(told["altered adapter"])
    assert told["mended adapter"] is None


def test_a_question_without_messages_is_told_how_to_ask(told: dict[str, object]) -> None:
    assert "give a column `messages`" in str(told["no messages"])


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
