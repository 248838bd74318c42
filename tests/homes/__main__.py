"""Maker of a small home, with the code as it is: `python -m tests.homes NAME`, at the end of a piece of work."""

import argparse
import shutil
import tarfile
from pathlib import Path

from loop.types import Stage
from tests.homes import HERE, SEED, made_in
from tests.project import killed_at, make_project, nightshift

WHY = ("--reason", "made for the tests")


def make(folder: Path) -> None:
    """Four nights: a champion that a person approved, one that was rolled back, a skipped night, an open one."""
    make_project(folder)
    verbs = (
        ("import", "events.jsonl"),
        ("run", "--as-of", "2026-01-03T00:00"),
        ("promote", "1", "--force", *WHY),
        ("approve", "1", *WHY),
        ("--set", "training.seed=1", "run", "--as-of", "2026-01-04T00:00"),
        ("promote", "2", "--force", *WHY),
        ("rollback", *WHY),
        ("--set", "training.seed=1", "run", "--as-of", "2026-01-04T12:00"),
    )
    for verb in verbs:
        done = nightshift(*verb, folder=folder)
        assert done.returncode in {0, 3}, done.stderr
    kept = folder / ".nightshift"
    killed_at(Stage.TRAIN, *SEED, "run", "--as-of", "2026-01-05T00:00", folder=folder)
    shutil.copy(kept / "store.db", kept / "store-untrained.db")
    killed_at(Stage.DECIDE, *SEED, "run", folder=folder)


def main() -> None:
    """Make the home and pack it beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="the release, or the day on which the work ended")
    name = parser.parse_args().name
    folder = Path(made_in(name))
    folder.mkdir()
    make(folder)
    with tarfile.open(HERE / f"{name}.tar.xz", "w:xz") as packed:
        packed.add(folder, arcname=".", filter=_needed)


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    # Great Expectations puts 4 MB of pictures and fonts beside each snapshot's pages.
    return None if "data_docs/" in member.name and "/static" in member.name else member


if __name__ == "__main__":
    main()
