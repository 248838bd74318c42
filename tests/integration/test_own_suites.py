"""A night with suites of a user's own: a bad one ends it before its training, good ones judge and are shown."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loop import open_loop
from loop.home import CANDIDATES, page
from loop.testing import MemoryLedger, MemoryLog, MemoryRegistry, MemoryStore
from loop.types import NightStatus, SuiteRole
from tests.project import edited, make_project

NOON = datetime(2026, 1, 3, tzinfo=UTC)
SUITES = """
[[suites]]
name = "sums"
role = "guard"
file = "sums.jsonl"
scorer = "numeric"

[[suites]]
name = "brevity"
role = "report"
file = "sums.jsonl"
scorer = "own:brief"
"""
LINES = [json.dumps({"prompt": f"{n} and {n}?", "reference": str(2 * n)}) for n in range(8)]
SCORER = "def brief(item, answer):\n    return 1 / (1 + len(answer))\n"

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_bad_suite_ends_the_night_before_its_training_and_mended_it_judges(tmp_path: Path):
    folder = make_project(tmp_path / "project")
    settings = folder / "nightshift.toml"
    settings.write_text(settings.read_text() + SUITES)
    (folder / "own.py").write_text(SCORER)
    (folder / "sums.jsonl").write_text("\n".join([*LINES, '{"prompt": "no answer"}']))
    registry, store = MemoryRegistry(tmp_path / "registry"), MemoryStore()
    ports = {"registry": registry, "store": store, "ledger": MemoryLedger(), "log": MemoryLog()}
    loop = open_loop(settings, home=tmp_path / "home", ports=ports)
    loop.append(event for user in range(60) for event in edited(user))

    failed = loop.run(NOON)
    assert failed.status is NightStatus.FAILED
    assert failed.reasons[-1].startswith(f"{folder}/sums.jsonl:9: the suite's scorer finds nothing to judge by")
    assert not (tmp_path / "home" / CANDIDATES).exists()

    (folder / "sums.jsonl").write_text("\n".join(LINES))
    night = loop.run(NOON)
    evidence = store.evidence(night.outputs.evidence_id)
    own = {suite.suite: suite for suite in evidence.suites if suite.suite in {"sums", "brevity"}}
    assert {name: suite.role for name, suite in own.items()} == {"sums": SuiteRole.GUARD, "brevity": SuiteRole.REPORT}
    assert all(len(suite.scores) == 8 for suite in own.values())
    tests = {test.name: test.role for test in store.decision(night.outputs.decision_id).tests}
    assert tests["sums"] == "guard"
    assert "brevity" not in tests
    text = page(tmp_path / "home", night.night_id).read_text()
    assert own["sums"].suite_sha256[:8] in text
    assert "brevity" in text
    run = registry.runs[night.night_id]
    assert {"sums/candidate", "brevity/champion"} <= {name for _, metrics in run.metrics for name in metrics}
