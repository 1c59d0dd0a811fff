"""What is free is what the strictest limit leaves: the machine's, a cgroup's or the shell's."""

import resource
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
import raw_data

from defect_jax.runtime import memory

MACHINE = SimpleNamespace(available=9 * 10**9, total=16 * 10**9)


@pytest.fixture(autouse=True)
def system(monkeypatch, tmp_path):
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: MACHINE)
    monkeypatch.setattr(memory, "CGROUPS_OF_PROCESS", tmp_path / "proc")
    monkeypatch.setattr(memory, "MOUNTED", tmp_path / "cgroup")
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, 0))
    return tmp_path


def test_the_machine_alone(system):
    assert memory.free_bytes() == (9 * 10**9, "the 16.0 GB of this machine")
    assert str(memory.free_bytes()) == "9.0 GB free within the 16.0 GB of this machine"


def write(root, folder, most, used, stat="", version=2):
    names = {
        2: ("memory.max", "memory.current"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    }[version]
    for name, text in (*zip(names, (most, used), strict=True), ("memory.stat", stat)):
        raw_data.write(root / "cgroup" / folder / name, str(text).encode())


@pytest.mark.parametrize(
    "listed, folder, version",
    [
        ("0::/\n", "", 2),
        ("0::/user.slice/job\n", "user.slice/job", 2),
        ("0::/user.slice/job\n", "user.slice", 2),  # the limit of a group above
        ("0::/../../host/name\n", "", 2),  # a container that sees names of its host
        ("9:cpu:/x\n4:memory:/docker/abc\n0::/\n", "memory/docker/abc", 1),
        ("4:hugetlb,memory:/docker/abc\n", "memory", 1),  # mounted as the root of the container
    ],
)
def test_a_cgroup_limit_is_named(system, listed, folder, version):
    raw_data.write(system / "proc", listed.encode())
    write(system, folder, 2 * 10**9, 1_500_000_000, version=version)
    free = memory.free_bytes()
    assert free.bytes == 500_000_000
    assert "2.0 GB of the cgroup limit" in free.limit and folder in free.limit


@pytest.mark.parametrize("most", ["max", 2**63 - 4096, "", "text"])
def test_a_cgroup_without_a_limit(system, most):
    raw_data.write(system / "proc", b"0::/\n")
    write(system, "", most, 10**9)
    assert memory.free_bytes().bytes == MACHINE.available


def test_cached_files_count_as_free_and_more_used_than_allowed_is_nothing(system):
    raw_data.write(system / "proc", b"0::/\n")
    write(system, "", 10**9, 10**9, "anon 7\ninactive_file 400\n")
    assert memory.free_bytes().bytes == 400
    write(system, "", 10**9, 2 * 10**9)
    assert memory.free_bytes().bytes == 0


def test_what_is_not_there_is_not_taken(monkeypatch):
    memory.check_free(8 * 10**9)
    with pytest.raises(MemoryError) as error:
        memory.check_free(20 * 10**9)
    assert str(error.value) == (
        "needs 20.0 GB of memory, and there are 9.0 GB free within the 16.0 GB of this machine: "
        "make it smaller, or raise the limit"
    )
    assert memory.shortage(error.value) == str(error.value)


def caused(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error, is_one",
    [
        (MemoryError(), True),
        (np._core._exceptions._ArrayMemoryError((9, 9), np.dtype("f4")), True),
        (caused(ValueError("is truncated"), MemoryError()), True),
        (caused(ValueError("x"), cv2.error("alloc.cpp:73: error: (-4:Insufficient memory)")), True),
        (caused(ValueError("is truncated"), OSError("image file is truncated")), False),
    ],
)
def test_a_shortage_is_found_behind_what_a_decoder_says(error, is_one):
    said = memory.shortage(error)
    assert said == (
        "needs more memory than there is (9.0 GB free within the 16.0 GB of this machine): "
        "make it smaller"
        if is_one
        else None
    )


def test_a_limit_of_the_shell(monkeypatch):
    used = psutil.Process().memory_info().vms
    monkeypatch.setattr(memory.resource, "getrlimit", lambda _: (used + 10**9, 0))
    free = memory.free_bytes()
    assert 0.8e9 < free.bytes <= 1e9 and "ulimit -v" in free.limit
