"""What is installed and what is free, read from the files of both versions of control groups."""

from pathlib import Path

import pytest

from loop.memory import MEMORY, Memory, free, installed
from tests.machine import machine

GIB = 2**30


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


def inside(read: Memory, text: str) -> Memory:
    """The process is in these control groups."""
    (read.proc / "self").mkdir()
    (read.proc / "self" / "cgroup").write_text(text)
    return read


def test_this_machine_has_memory_and_some_of_it_is_free():
    assert 0 < free(MEMORY) < installed(MEMORY)


def test_a_machine_without_control_groups_counts_as_a_whole(tmp_path):
    read = machine(tmp_path, installed=8 * GIB, free=3 * GIB)
    assert (installed(read), free(read)) == (8 * GIB, 3 * GIB)


@pytest.mark.parametrize("path", ["", "system.slice", "system.slice/nightshift.service"])
def test_the_lowest_limit_of_the_groups_that_hold_the_process_counts(tmp_path, path):
    read = inside(machine(tmp_path, installed=8 * GIB), "0::/system.slice/nightshift.service\n")
    group(read.groups / "system.slice" / "nightshift.service", max="max", current=str(GIB), stat="inactive_file 0")
    group(read.groups / path, max=str(4 * GIB), current=str(GIB), stat="inactive_file 0\nanon 5")
    assert (installed(read), free(read)) == (4 * GIB, 3 * GIB)


def test_a_page_cache_that_the_kernel_takes_back_counts_as_free(tmp_path):
    read = inside(machine(tmp_path, installed=8 * GIB), "0::/\n")
    cached = f"anon {GIB}\ninactive_file {GIB}\nactive_file {GIB // 2}\nslab_reclaimable {GIB // 4}"
    group(read.groups, max=str(4 * GIB), current=str(4 * GIB), stat=cached)
    assert free(read) == GIB + GIB // 2 + GIB // 4


def test_the_first_version_of_control_groups_is_read_too(tmp_path):
    read = inside(machine(tmp_path, installed=8 * GIB), "4:cpu,memory:/docker/abc\n1:cpu:/\n0::/\n")
    files = {"limit_in_bytes": str(2 * GIB), "usage_in_bytes": str(GIB)}
    group(read.groups / "memory", stat=f"total_inactive_file {GIB // 2}\ninactive_file 7", **files)
    assert (installed(read), free(read)) == (2 * GIB, GIB + GIB // 2)


def test_a_group_of_another_controller_sets_no_limit(tmp_path):
    read = inside(machine(tmp_path, installed=8 * GIB), "1:cpu:/small\n")
    group(read.groups / "memory" / "small", limit_in_bytes="1", usage_in_bytes="1", stat="total_inactive_file 0")
    assert installed(read) == 8 * GIB
