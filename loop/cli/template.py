"""nightshift.toml as `init` writes it: each setting with its default, meaning and bounds, from `settings.sections`."""

import ast
import inspect
import json
import textwrap
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from loop import settings
from loop.settings import sections
from loop.settings.bounds import Between
from loop.types import SuiteRole

COLUMNS = 80
Meanings = Mapping[tuple[str, str], str]
"""Docstrings of fields under (class, field), of classes under (class, "")."""
HEAD = "Nightshift's settings. Addresses and secrets come from the environment, not from here."
FROM_WHERE = """\
From files, by nightshift import. From an application, through the log in the home folder or through Kafka at
NIGHTSHIFT_KAFKA_SERVERS, whose settings `nightshift init --kafka` writes too."""
FIRST: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("Which model?", ("model.base",), "A folder, a GGUF file or a hub name; the default is a small one to try with."),
    (
        "Where do events come from?",
        (),
        FROM_WHERE,
    ),
    (
        "Who approves?",
        ("gate.promote",),
        "true: what passes the gate serves at once. false: a person promotes it, with nightshift promote.",
    ),
    (
        "How long may a night be?",
        ("training.budget_tokens", "evaluation.max_items", "evaluation.max_new_tokens"),
        "Tokens bound its training, items and the length of answers its evaluation.",
    ),
    (
        "How long is data kept?",
        ("curation.window_days",),
        "Older interactions are not learnt from, though the store keeps them.",
    ),
)
"""Decisions of a newcomer before the first night: the question, its settings and what they mean."""
SECTIONS = tuple(settings.policy(settings.Settings()))
"""Names of the sections, in their order."""
EXAMPLE = settings.SuiteSettings(name="tone", role=SuiteRole.GUARD, file="suites/tone.jsonl", scorer="graded")
MARK = "FIRST: "
"""Beginning of the comment of every setting that stands in FIRST."""


def render(chosen: settings.Settings, *, kafka: bool = False) -> str:
    """The commented file, which loads as `chosen`. It has `[log]` with `kafka`, or where that is not the default."""
    meanings = _meanings()
    marked = {key for _, keys, _ in FIRST for key in keys}
    lines = _comment(HEAD)
    lines.append("#")
    lines += _first(chosen)
    lines.append("")
    for name in SECTIONS:
        values = getattr(chosen, name)
        # [log] is about Kafka; the embedded log has no settings.
        if name == "log" and not kafka and values == settings.LogSettings():
            continue
        lines += _table(name, values, meanings, marked)
    lines += _suites(chosen.suites, meanings)
    return "\n".join(lines) + "\n"


def _suites(chosen: Sequence[settings.SuiteSettings], meanings: Meanings) -> Iterator[str]:
    """The suites, each below its comment; where there are none, an example that is a comment itself."""
    yield from _comment(meanings["SuiteSettings", ""], "[[suites]] may stand here several times.")
    for key in fields(settings.SuiteSettings):
        yield from _comment(f"{key.name}: {meanings['SuiteSettings', key.name]}", indent="#   ")
    mark = "" if chosen else "# "
    for suite in chosen or (EXAMPLE,):
        yield f"{mark}[[suites]]"
        for key in fields(suite):
            yield f"{mark}{key.name} = {json.dumps(getattr(suite, key.name))}"


def _table(name: str, values: Any, meanings: Meanings, marked: Collection[str]) -> Iterator[str]:  # noqa: ANN401 - a section
    """Lines of a section or of a table within one, and below them those of the tables within it."""
    owner = type(values)
    # Bounds stand in Annotated, which is dropped without include_extras.
    kinds = get_type_hints(owner, include_extras=True)
    yield from _comment(meanings[owner.__name__, ""])
    yield f"[{name}]"
    inner = []
    for key in fields(values):
        value = getattr(values, key.name)
        if is_dataclass(value):
            inner.append(key.name)
            continue
        mark = MARK if f"{name}.{key.name}" in marked else ""
        yield from _comment(mark + meanings[owner.__name__, key.name], _allowed(kinds[key.name]))
        # JSON writes booleans, numbers and texts as TOML does.
        yield f"{key.name} = {json.dumps(value)}"
    yield ""
    for below in inner:
        yield from _table(f"{name}.{below}", getattr(values, below), meanings, marked)


def _first(chosen: settings.Settings) -> Iterator[str]:
    yield f"# Decide these first; below, each has {MARK.strip()} before its meaning."
    for number, (question, keys, text) in enumerate(FIRST, 1):
        yield f"# {number}. {question}"
        values = [f"{key} = {json.dumps(_value(chosen, key))}" for key in keys]
        yield from _comment(*values, text, indent="#    ")


def _value(chosen: settings.Settings, key: str) -> object:
    section, _, name = key.partition(".")
    return getattr(getattr(chosen, section), name)


def _comment(*paragraphs: str, indent: str = "# ") -> list[str]:
    said = [f"{indent}{text}" for text in paragraphs if text]
    return [line for text in said for line in textwrap.wrap(text, COLUMNS, subsequent_indent=indent)]


def _allowed(kind: Any) -> str:  # noqa: ANN401 - a type as annotations have them
    """Sentence on the values that a setting may have; empty where its type says only text or number."""
    if get_origin(kind) is Literal:
        return f"One of {', '.join(map(json.dumps, get_args(kind)))}."
    if kind is bool:
        return "true or false."
    if get_origin(kind) is not Annotated:
        return ""
    arguments = get_args(kind)
    number, marks = arguments[0], arguments[1:]
    whole = "A whole number" if number is int else "A number"
    return next((f"{whole}, {_range(mark)}." for mark in marks if isinstance(mark, Between)), "")


def _range(bounds: Between) -> str:
    # `g` alone keeps six digits, and would round a large bound.
    return f"{bounds.low:g} or more" if bounds.high is None else f"{bounds.low:g} to {bounds.high:.10g}"


def _meanings() -> Meanings:
    """Docstrings of the settings."""
    # From the source, because Python drops the strings below fields.
    classes = [node for node in ast.parse(inspect.getsource(sections)).body if isinstance(node, ast.ClassDef)]
    return {(owner.name, name): text for owner in classes for name, text in _docstrings(owner)}


def _docstrings(owner: ast.ClassDef) -> Iterator[tuple[str, str]]:
    # The string before the first field is the docstring of the class.
    name = ""
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield name, str(node.value.value)
