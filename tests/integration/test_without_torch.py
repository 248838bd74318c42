"""Commands that load no model: they run where torch is absent, and where it is there they leave it alone."""

import json
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.homes import unpack_for_today
from tests.project import AS_OF, from_the_start

NAMES = '{"torch", "transformers", "peft"}'
ABSENT = f"""
import sys

class Absent:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {NAMES}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent)
"""
WATCHED = f"""
import atexit, sys

atexit.register(lambda: print("came in:", *sorted({NAMES} & set(sys.modules)), file=sys.stderr))
"""
"""What Python runs first, as sitecustomize.py."""


class Machine:
    """A home of 0.1.0 with two judged versions, and how Python starts there."""

    def __init__(self, folder: Path, first: str) -> None:
        (folder / "first").mkdir(parents=True)
        (folder / "first" / "sitecustomize.py").write_text(first)
        self.folder = unpack_for_today("0.1.0", folder / "project")
        self.path = f"{folder / 'first'}:{ROOT}"

    def run(self, *arguments: str):
        return from_the_start(*arguments, folder=self.folder, PYTHONPATH=self.path)

    def told(self, *arguments: str, codes: tuple[int, ...] = (0,)):
        done = self.run("--json", *arguments)
        assert done.returncode in codes, (arguments, done.stderr)
        assert "torch" not in done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def without_torch(tmp_path: Path) -> Machine:
    return Machine(tmp_path, ABSENT)


@pytest.mark.parametrize("first", [ABSENT, WATCHED], ids=["torch is absent", "torch is there"])
def test_intake_curation_decisions_and_rollback_need_no_torch(tmp_path: Path, first: str) -> None:
    machine = Machine(tmp_path, first)
    nights = machine.told("nights")["nights"]
    candidate, evidence = (nights[0]["outputs"][stage] for stage in ("train", "evaluate"))

    for reading in ("status", "history", "dlq list", "doctor", "prune --keep 1 --dry-run"):
        machine.told(*reading.split())
    machine.told("import", "events.jsonl")
    machine.told("capture", "--until-caught-up")
    snapshot = machine.told("curate", "--as-of", AS_OF)["snapshot_id"]
    assert machine.told("validate", snapshot)["passed"]
    assert machine.told("register", candidate)["version"] == 1
    assert machine.told("decide", evidence, codes=(0, 3))["decision_id"]
    assert machine.told("promote", "2", "--force", "--reason", "tried")["to"] == 2
    assert machine.told("approve", "2")["to"] == 2
    assert machine.told("rollback")["to"] == 1
    assert machine.told("reconcile")["repairs"] == []
    assert machine.told("prune", "--keep", "1")["removed"]


def test_what_needs_a_model_says_that_torch_is_absent_before_anything_else(without_torch: Machine) -> None:
    outputs = json.loads(without_torch.run("--json", "nights").stdout)["nights"][0]["outputs"]
    needing = (["run"], ["train", outputs["curate"]], ["evaluate", outputs["train"]], ["ask", "hi"], ["demo"])
    for arguments in needing:
        refused = without_torch.run(*arguments)
        assert refused.returncode == 2, refused.stderr
        assert "torch and transformers and peft are not installed here" in refused.stderr
        assert "pip install torch transformers peft" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert len(json.loads(without_torch.run("--json", "nights").stdout)["nights"]) == 4


def test_doctor_says_what_a_machine_without_torch_can_do_and_what_it_knows_of_the_base(without_torch: Machine) -> None:
    checks = {check["name"]: check for check in without_torch.told("doctor")["checks"]}
    assert "can do intake, curation" in checks["torch"]["text"]
    assert "cannot do run, train, evaluate, ask and demo" in checks["torch"]["text"]
    assert "llama, 2 layers of 64" in checks["base model"]["text"]
    loading = without_torch.run("doctor", "--model")
    assert loading.returncode == 1
    assert "BAD  model" in loading.stdout


@pytest.mark.parametrize(
    ("arguments", "stage"),
    [
        ("decide nope", "evaluate"),
        ("register nope", "train"),
        ("evaluate nope", "train"),
        ("train nope", "curate"),
        ("validate nope", "curate"),
        ("promote 1 --decision nope", "decide"),
    ],
)
def test_an_id_that_names_nothing_is_refused_before_anything_heavy(tmp_path: Path, arguments: str, stage: str) -> None:
    heavy = ABSENT.replace(NAMES, '{"torch", "transformers", "mlflow", "great_expectations", "scipy", "polars"}')
    refused = Machine(tmp_path, heavy).run(*arguments.split())
    assert refused.returncode == 2, refused.stderr
    assert "'nope'" in refused.stderr
    assert f"`nightshift --json nights` lists those of all nights: outputs.{stage}" in refused.stderr
