"""nightshift.toml as `init` writes it: every default with its meaning, taken from the sections themselves."""

import ast
import inspect
import json
from collections.abc import Iterator
from dataclasses import fields

from loop import settings
from loop.settings import sections


def render(chosen: settings.Settings) -> str:
    """The commented file; loading it gives `chosen` back."""
    meanings = _meanings()
    lines = ["# Nightshift's policy. Addresses and secrets come from the environment: see the README.", ""]
    for name in settings.policy(chosen):
        values = getattr(chosen, name)
        owner = type(values).__name__
        lines += [f"# {meanings[owner, '']}", f"[{name}]"]
        for key in fields(values):
            lines += [f"# {meanings[owner, key.name]}", f"{key.name} = {json.dumps(getattr(values, key.name))}"]
        lines.append("")
    return "\n".join(lines)


def _meanings() -> dict[tuple[str, str], str]:
    """(class, field) -> the docstring that stands under it; (class, "") -> the class's own."""
    classes = [node for node in ast.parse(inspect.getsource(sections)).body if isinstance(node, ast.ClassDef)]
    return {(owner.name, name): text for owner in classes for name, text in _docstrings(owner)}


def _docstrings(owner: ast.ClassDef) -> Iterator[tuple[str, str]]:
    name = ""
    for node in owner.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield name, str(node.value.value)
