"""Files and folders that are whole or absent, whoever else writes them and whoever is killed."""

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loop import files


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_made_with_its_folder_and_replaced_without_a_trace(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    files.write(file, b"one", memoryview(b" two"))
    assert file.read_bytes() == b"one two"
    files.write_text(file, "drei ä")
    assert file.read_text("utf-8") == "drei ä"
    assert names(file.parent) == {"file"}


def test_a_file_has_the_permissions_that_the_process_gives_and_a_secret_its_owner_alone(tmp_path: Path) -> None:
    usual = os.umask(0o027)
    try:
        files.write(tmp_path / "open", b"")
        files.write_first(tmp_path / "secret", "key")
        with files.whole_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(usual)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"open": 0o640, "secret": 0o600, "folder": 0o750}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    files.write(tmp_path / "file", b"old")
    with pytest.raises(TypeError):
        files.write(tmp_path / "file", b"new", "no bytes")  # type: ignore[arg-type]
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_of_several_that_write_first_one_wins_and_all_end(tmp_path: Path) -> None:
    texts = [str(number) * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: files.write_first(tmp_path / "key", text), texts))
    assert (tmp_path / "key").read_text() in texts
    assert names(tmp_path) == {"key"}


def test_of_several_that_replace_a_file_it_is_always_whole(tmp_path: Path) -> None:
    texts = [str(number) * 1000 for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: files.write_text(tmp_path / "file", text), texts))
    assert (tmp_path / "file").read_text() in texts
    assert names(tmp_path) == {"file"}


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "place" / "folder"
    with files.whole_folder(target) as building:
        (building / "inner").mkdir()
        (building / "inner" / "file").write_text("all")
        assert not target.exists()
    assert (target / "inner" / "file").read_text() == "all"
    assert names(target.parent) == {"folder"}


def test_a_folder_that_is_not_finished_is_none(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.whole_folder(tmp_path / "folder"):
        raise ZeroDivisionError
    assert names(tmp_path) == set()


def test_a_folder_that_another_process_made_first_stays(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with files.whole_folder(target) as building:
        (building / "file").write_text("ours")
        target.mkdir()
        (target / "file").write_text("theirs")
    assert (target / "file").read_text() == "theirs"
    assert names(tmp_path) == {"folder"}


def test_what_a_killed_process_left_is_found(tmp_path: Path) -> None:
    program = (
        "import os, signal; from pathlib import Path; from loop.files import whole_folder\n"
        "with whole_folder(Path('folder')): os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = files.unfinished(tmp_path)
    assert left.name.startswith(".folder-")
    assert not (tmp_path / "folder").exists()
