"""Nights whose events come through a real Kafka."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from loop.curation import snapshot
from loop.curation.split import split_of
from loop.settings import CurationSettings
from loop.types import Split
from tests import services
from tests.project import AS_OF, environment, make_project, nightshift

BY_HAND = re.compile(r"^echo '.*?\n  kcat .*?$", re.DOTALL | re.MULTILINE)
SECRET = "key of the pseudonyms"  # noqa: S105 - of a test
README = Path(__file__).parents[2] / "infra" / "README.md"


@dataclass(frozen=True, slots=True)
class Project:
    """A folder, and the environment of the commands in it."""

    folder: Path
    named: Mapping[str, str]
    settings: tuple[str, ...] = ()

    def __call__(self, *arguments: str) -> str:
        """What the command prints; it may end with "nothing was promoted"."""
        chosen = [word for setting in self.settings for word in ("--set", setting)]
        done = nightshift(*chosen, *arguments, folder=self.folder, **self.named)
        assert done.returncode in {0, 3}, done.stderr
        return done.stdout


def on_kafka(folder: Path) -> Project:
    """With a topic of its own."""
    broker = services.kafka()
    log = services.log_settings(broker, partitions=12)
    keys = ("topic", "group", "partitions", "replication_factor", "min_insync_replicas")
    named = {"NIGHTSHIFT_KAFKA_SERVERS": ",".join(broker.servers), "NIGHTSHIFT_USER_SECRET": SECRET}
    project = Project(folder, named, tuple(f"log.{key}={getattr(log, key)}" for key in keys))
    project("topics", "create")
    return project


def embedded(folder: Path) -> Project:
    """With nothing but its folder."""
    return Project(folder, {"NIGHTSHIFT_USER_SECRET": SECRET})


def test_a_feedback_sent_by_hand_with_kcat_trains_the_next_night(tmp_path: Path) -> None:
    services.require("kcat", present=bool(shutil.which("kcat")), remedy="install kcat (Debian: kcat)")
    project = on_kafka(make_project(tmp_path))
    shares = CurationSettings(vault_share=0.3)
    chosen = next(n for n in range(60) if split_of("default", f"user-{n}", shares) is Split.TRAIN)
    events = tmp_path / "events.jsonl"
    kept = [text for text in events.read_text().splitlines() if json.loads(text)["id"] != f"f{chosen}"]
    events.write_text("\n".join(kept) + "\n")
    project("import", "events.jsonl")

    (by_hand,) = BY_HAND.findall(README.read_text())
    topic = project.settings[0].removeprefix("log.topic=")
    for written, here in (("nightshift.events", topic), ('"i-1"', f'"i{chosen}"'), ("2026-11-24", "2026-01-02")):
        assert written in by_hand
        by_hand = by_hand.replace(written, here)
    named = {**environment(), **project.named}
    subprocess.run(["bash", "-ec", by_hand], env=named, check=True)

    project("run", "--as-of", AS_OF)
    (night,) = json.loads(project("--json", "nights"))["nights"]
    lineage = snapshot.lineage(tmp_path / ".nightshift", night["outputs"]["curate"])
    (example_id,) = lineage["by-hand-1"]
    trained = snapshot.read(tmp_path / ".nightshift", night["outputs"]["curate"], Split.TRAIN)
    (example,) = (each for each in trained if each.example_id == example_id)
    assert "Order 48213 arrives on Monday." in {branch.response.content for branch in example.branches}
    assert night["outputs"]["train"]


@pytest.mark.parametrize(
    ("file", "format_name", "answers"),
    [("gsm8k/example_model_solutions.jsonl", "gsm8k", 5276), ("tau_bench/gpt-4o-airline.json", "tau-bench", 200)],
)
def test_real_logs_make_the_same_snapshot_through_kafka_as_through_the_embedded_log(
    file: str, format_name: str, answers: int, real_data: Path, tmp_path: Path
) -> None:
    imported = ("import", str(real_data / file), "--format", format_name, "--start", "2026-01-01")
    found = []
    for log in (on_kafka, embedded):
        (folder := tmp_path / log.__name__).mkdir()
        (folder / "nightshift.toml").touch()
        run = log(folder)
        counted = json.loads(run("--json", *imported))
        assert (counted["interactions"], counted["dead_letters"]) == (answers, 0)
        found.append(json.loads(run("--json", "curate", "--as-of", AS_OF)))
    assert found[0] == found[1]
    assert sum(found[0]["counts"].values()) > answers / 2
