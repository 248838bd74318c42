"""Whoever adds a member to an enum is told every place that has to know it: by mypy for `match`, here for tables."""

import ast
import tomllib
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

import pytest

from connectors.expectations.rules import SHAPES
from loop import counts, types
from loop.cli import terminal
from loop.cli.data import FORMATS
from loop.errors import EventError
from loop.intake.events import decode, encode
from loop.report import plots
from loop.types import Feedback, FeedbackKind, NightStatus, Objective, Verdict
from tests.feedback import ask, made, tell

ROOT = Path(__file__).parents[2]
IMPORTS = (ROOT / "connectors" / "imports" / "README.md").read_text()
PARTIAL = {
    "UNSATISFIED": "what the desk's users do",
    "values": "what a chat's feedback can hold as a number",
    "texts": "what a chat's feedback can hold as a text",
}
"""Tables that hold some members on purpose, by the name that they are given."""
ENUMS = {
    name: found
    for name, found in (vars(types) | vars(counts)).items()
    if isinstance(found, type) and issubclass(found, Enum)
}


def sources() -> Iterator[Path]:
    for folder in ("loop", "connectors", "evals"):
        yield from (ROOT / folder).rglob("*.py")


def member(node: ast.expr | None) -> tuple[str, str] | None:
    """Enum and member that an expression names."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ENUMS:
        return node.value.id, node.attr
    return None


def tables(tree: ast.Module) -> Iterator[tuple[str, str, set[str]]]:
    """Name, enum and members of every dict whose keys are members of an enum, but for what a Counter begins with."""
    names: dict[ast.expr, str] = {}
    added: set[ast.expr] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Counter":
            added.update(node.args)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names[node.value] = ast.unparse(target)
        if isinstance(node, ast.Dict) and node not in added:
            keyed = [found for key in node.keys if (found := member(key))]
            for enum in {enum for enum, _ in keyed}:
                yield names.get(node, f"line {node.lineno}"), enum, {name for each, name in keyed if each == enum}


def lacking(path: Path) -> list[str]:
    """Tables of a file that forget a member, in words."""
    found = []
    for name, enum, members in tables(ast.parse(path.read_text())):
        missing = set(ENUMS[enum].__members__) - members
        if missing and name not in PARTIAL:
            found.append(f"{path}: {name} has no {enum}.{', '.join(sorted(missing))}")
    return found


def test_every_table_has_a_row_for_each_member_of_its_enum():
    assert [line for path in sources() for line in lacking(path)] == []


def test_a_table_that_forgets_a_member_is_found(tmp_path: Path):
    *known, forgotten = Verdict
    forgetful = tmp_path / "forgetful.py"
    forgetful.write_text(f"COLOURS = {{{', '.join(f'Verdict.{verdict.name}: 1' for verdict in known)}}}")
    assert lacking(forgetful) == [f"{forgetful}: COLOURS has no Verdict.{forgotten.name}"]


def test_a_match_that_forgets_a_member_fails_the_type_check():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert "exhaustive-match" in settings["enable_error_code"]


def test_every_verdict_has_a_colour_on_the_terminal_and_so_has_a_night_without_one():
    assert set(terminal.TONES) >= set(Verdict)
    # A night that is done has a verdict, and one that runs says in which stage.
    without = {status.upper() for status in NightStatus} - {"DONE", "RUNNING"}
    assert set(terminal.TONES) >= without


def test_every_objective_has_a_shape_that_the_expectations_allow():
    assert {shape.partition(" ")[0] for shape in SHAPES} == set(Objective)


def test_every_format_has_a_row_in_the_readme_of_imports():
    rows = [line for line in IMPORTS.splitlines() if line.startswith("| `")]
    assert [name for name in FORMATS if not any(f"`{name}`" in row.split("|")[1] for row in rows)] == []


def test_every_mark_on_the_plot_of_nights_is_a_verdict_or_a_move_by_hand():
    assert set(plots.MARKS) - {"rolled back", "wrong promotion"} <= set(Verdict)


def refused(event: Feedback) -> bool:
    try:
        encode(event)
    except EventError:
        return True
    return False


FIELDS = {"value": 1.0, "text": "Paris, of course.", "other": "b"}
"""All that feedback of any kind may carry."""


@pytest.mark.parametrize("kind", FeedbackKind)
def test_what_intake_takes_of_a_kind_curation_understands(kind: FeedbackKind):
    asked = [ask("a", answer="Paris"), ask("b", answer="Rome")]
    whole = tell("a", kind, **FIELDS)
    assert decode(encode(whole).payload) == whole
    told = made([*asked, whole])
    assert "unusable" not in told.report
    assert told.examples or told.report.keys() & {"comments", "neutral"}


@pytest.mark.parametrize("missing", FIELDS)
@pytest.mark.parametrize("kind", FeedbackKind)
def test_what_a_kind_lacks_is_refused_or_counted_and_never_stops_a_night(kind: FeedbackKind, missing: str):
    lacks = tell("a", kind, **{name: given for name, given in FIELDS.items() if name != missing})
    curated = made([ask("a", answer="Paris"), ask("b", answer="Rome"), lacks])
    silent = curated.report.keys() & {"unusable", "orphans"}
    # Intake refuses only what curation could make nothing of.
    assert silent or not refused(lacks)
