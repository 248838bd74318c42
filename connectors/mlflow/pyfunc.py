"""Files beside a version's adapter that make it an MLflow model, which MLflow loads and serves on its own.

Nothing is pickled: the files are MLmodel, the requirements of this process, and a copy of our
modules. The copy has a package name of its own, so that it clashes neither with an installed Nightshift nor with the
copy of another version.
"""

import ast
import json
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from loop import errors
from loop.hashing import sha256_of
from loop.types import Candidate

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

LOADER = "loop.models.pyfunc"
PACKAGE = "loop"
ROOT = Path(errors.__file__).parent
ALSO_NEEDED = frozenset({"mlflow", "gguf"})
"""Packages that no source imports: MLflow itself, and the reader of GGUF files, which transformers imports."""
ROOT_IMPORT = re.compile(rf"^(\s*(?:from|import)\s+){PACKAGE}(?=[\s.])", re.MULTILINE)
EXAMPLE = {"messages": [{"role": "user", "content": "Where is my order?"}]}


def write_model(folder: Path, candidate: Candidate, base: str, dtype: str) -> None:
    """Write the files into `folder` that make the adapter, which is put there too, an MLflow model.

    `base` says where the base model comes from: a hub name, a folder or a GGUF file.
    """
    from mlflow.models import Model

    sources = _carried(LOADER)
    # Named by their content: two versions loaded into one process would otherwise share whichever came first.
    name = f"nightshift_{_digest(sources)[:12]}"
    _write_code(folder / "code", sources, name)
    needed = sorted(_third_party(sources.values()) | ALSO_NEEDED)
    # Without the local part (torch 2.9.1+cpu), which package indexes do not have.
    pins = [f"{package}=={version(package).partition('+')[0]}" for package in needed]
    (folder / "requirements.txt").write_text("\n".join(pins) + "\n")
    python = {"python": platform.python_version(), "dependencies": ["-r requirements.txt"]}
    _write_json(folder / "python_env.yaml", python)  # JSON is YAML
    _write_json(folder / "input_example.json", EXAMPLE)
    _write_json(folder / "serving_input_example.json", EXAMPLE)
    example = {
        "artifact_path": "input_example.json",
        "serving_input_path": "serving_input_example.json",
        "type": "json_object",
    }
    model = Model(signature=_signature(), saved_input_example_info=example)
    model.add_flavor(
        "python_function",
        loader_module=name + LOADER.removeprefix(PACKAGE),
        python_version=platform.python_version(),
        code="code",
        env={"virtualenv": "python_env.yaml"},
        config={
            "base": base,
            "base_fingerprint": candidate.base_fingerprint,
            "dtype": dtype,
            "adapter_sha256": candidate.adapter_sha256,
        },
    )
    model.save(folder / "MLmodel")


def _signature() -> "ModelSignature":
    """The model's signature: messages or a prompt in, text out, with the sampling as parameters."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array, Object, Property

    function = Object([Property("name", DataType.string), Property("arguments", DataType.string)])
    call = Object([Property("id", DataType.string), Property("type", DataType.string), Property("function", function)])
    message = Object(
        [
            Property("role", DataType.string),
            Property("content", DataType.string, required=False),
            Property("tool_calls", Array(call), required=False),
            Property("tool_call_id", DataType.string, required=False),
        ]
    )
    columns = [
        ColSpec(Array(message), "messages", required=False),
        ColSpec(DataType.string, "prompt", required=False),
    ]
    params = [
        ParamSpec("max_tokens", DataType.long, 256),
        ParamSpec("temperature", DataType.double, 0.0),
        ParamSpec("top_p", DataType.double, 1.0),
        ParamSpec("seed", DataType.long, None),
    ]
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.string)]), ParamSchema(params))


def _carried(entry: str) -> dict[str, str]:
    """Sources, by their path inside our package, of a module and of all our modules that it imports anywhere."""
    sources: dict[str, str] = {}
    waiting, seen = [entry], set[str]()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _file(module)
        if path is None:  # a name that a module defines, not a module
            continue
        text = sources[str(path.relative_to(ROOT))] = path.read_text()
        # Python imports the packages above a module first, so their __init__ files are needed too.
        waiting.append(module.rpartition(".")[0] or PACKAGE)
        waiting.extend(name for name in _imports(text) if name.partition(".")[0] == PACKAGE)
    # Sorted, because the digest that names the copy depends on the order.
    return dict(sorted(sources.items()))


def _file(module: str) -> Path | None:
    """The file of a module, found by name alone: Python's own search would import the packages above it, and torch."""
    path = ROOT.joinpath(*module.split(".")[1:])
    found = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in found if file.is_file()), None)


def _imports(text: str) -> Iterator[str]:
    """Every module that a source imports at run time, and every imported name that may be a module."""
    for statement in _at_run_time(ast.parse(text)):
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from _at_run_time(child)


def _third_party(sources: Iterable[str]) -> set[str]:
    """The third-party packages that sources import; their names are also those of their distributions."""
    names = {name.partition(".")[0] for text in sources for name in _imports(text)}
    return names - sys.stdlib_module_names - {PACKAGE}


def _write_code(folder: Path, sources: Mapping[str, str], name: str) -> None:
    """Write the sources as a package with a name of its own."""
    for relative, text in sources.items():
        path = folder / name / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROOT_IMPORT.sub(rf"\g<1>{name}", text))


def _digest(sources: Mapping[str, str]) -> str:
    return sha256_of(json.dumps(sources))


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
