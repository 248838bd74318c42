"""What is under infra/ as its tests read it, and what a command or a variable named there means to the program."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loop.settings import addresses, without_addresses

INFRA = Path(__file__).parents[1] / "infra"
BIN = Path(sys.executable).parent
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(:(?P<mark>[-?])(?P<rest>[^}]*))?\}")
"""`${NAME}`, `${NAME:-default}` or `${NAME:?what is missing}`."""


def compose() -> dict[str, Any]:
    """compose.yaml with its anchors merged and its variables as they stand."""
    return yaml.safe_load((INFRA / "compose.yaml").read_text())


def filled(text: str, environment: Mapping[str, str]) -> str:
    """`text` with its variables from `environment`, or their defaults; KeyError for one that is required."""

    def value(found: re.Match[str]) -> str:
        if found["mark"] == "-":
            return environment.get(found["name"], found["rest"])
        return environment[found["name"]]

    return VARIABLE.sub(value, text)


def manifests() -> dict[str, list[dict[str, Any]]]:
    """The Kubernetes objects of each file but kustomization.yaml."""
    files = sorted(path for path in (INFRA / "k8s").glob("*.yaml") if path.name != "kustomization.yaml")
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in files}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod template's spec of every workload, with its name."""
    for manifest in (found for file in manifests().values() for found in file):
        spec = manifest.get("spec", {})
        template = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template:
            yield manifest["metadata"]["name"], template["spec"]


def refused(command: Sequence[str]) -> str:
    """What `nightshift` says against the verb or the options of `command`; empty when it knows them."""
    assert command[0].endswith("nightshift")
    asked = [BIN / "nightshift", *command[1:], "--help"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stderr


def unread(environment: Mapping[str, str]) -> list[str]:
    """The variables of ours in `environment` without which the program would be told the same."""
    told, unread_names = addresses(environment), []
    for name in sorted(environment.keys() - without_addresses(environment).keys()):
        rest = {key: value for key, value in environment.items() if key != name}
        if addresses(rest) == told:
            unread_names.append(name)
    return unread_names
