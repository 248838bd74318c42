"""An environment as of somebody who has MLflow, torch, transformers and peft, but not Nightshift."""

import os
import site
import subprocess
import sys
from pathlib import Path

BLOCKED = ("loop", "connectors", "evals")
SCRIPTS = {"mlflow": "mlflow.cli import cli as main", "uvicorn": "uvicorn import main"}
"""Commands of installed libraries, which an installer would put into the environment too."""


def foreign_python(folder: Path) -> Path:
    """The interpreter of a fresh virtual environment that sees the libraries installed here.

    They are too large to install again for a test. A line in a `.pth` file adds their folder and follows none of the
    `.pth` files in it, of which the one that makes Nightshift importable is one.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (libraries,) = folder.glob("lib/python*/site-packages")
    (libraries / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    for script, module in SCRIPTS.items():
        path = folder / "bin" / script
        path.write_text(f"#!{python}\nfrom {module}\nmain()\n")
        path.chmod(0o755)
    found = subprocess.run(
        [python, "-c", f"from importlib.util import find_spec; print([*map(find_spec, {BLOCKED})])"],
        cwd=folder,
        env=foreign_environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[None, None, None]", found.stdout
    return python


def foreign_environment(folder: Path, **named: str) -> dict[str, str]:
    """Nothing of ours: no Python path, no address, a home of its own."""
    ours = ("NIGHTSHIFT_", "MLFLOW_", "PYTHON", "XDG_", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    path = f"{folder / 'bin'}{os.pathsep}{kept['PATH']}"
    return {**kept, "HOME": str(folder), "PATH": path, "HF_HUB_OFFLINE": "1", **named}
