import gc
import os
import subprocess
import sys

import pytest

from textclf_jax.runtime import memory
from textclf_jax.runtime.memory import REQUEST, VARIABLE, allocation_environment, kept


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Sets what the kernel says, on a C library that can ask."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(memory, "KERNEL_SETTING", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    return (tmp_path / "enabled").write_text


def test_huge_pages_are_asked_for_where_the_kernel_gives_them_on_request(kernel):
    kernel("always [madvise] never\n")
    assert allocation_environment() == {VARIABLE: REQUEST}


@pytest.mark.parametrize("setting", ["[always] madvise never\n", "always madvise [never]\n"])
def test_huge_pages_are_not_asked_for_where_it_changes_nothing(kernel, setting):
    kernel(setting)
    assert allocation_environment() == {}


def test_huge_pages_are_not_asked_for_without_such_a_kernel(kernel):
    assert allocation_environment() == {}


@pytest.mark.parametrize("version", ["glibc 2.34", "musl 1.2.5", "", None])
def test_nothing_is_asked_of_other_libraries(kernel, monkeypatch, version):
    kernel("always [madvise] never\n")
    monkeypatch.setattr(os, "confstr", lambda name: version)
    assert allocation_environment() == {}


def test_the_users_own_setting_stays(kernel, monkeypatch):
    kernel("always [madvise] never\n")
    monkeypatch.setenv(VARIABLE, "glibc.malloc.arena_max=1")
    assert allocation_environment() == {}


@pytest.mark.skipif(not memory._is_glibc_with_tunables(), reason="another C library")
def test_unused_memory_is_returned():
    """Resident MB after small blocks were freed below one that is still there, before and after."""
    code = (
        "import ctypes\n"
        "from textclf_jax.runtime.memory import return_unused\n"
        "libc = ctypes.CDLL(None)\n"
        "libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]\n"
        "def resident():\n"
        "    lines = open('/proc/self/status').read().splitlines()\n"
        "    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith('VmRSS'))\n"
        "blocks = [libc.malloc(100_000) for _ in range(1000)]\n"
        "for block in blocks: ctypes.memset(block, 1, 100_000)\n"
        "for block in blocks[:-1]: libc.free(block)\n"
        "before = resident()\n"
        "return_unused()\n"
        "print(before - resident())\n"
    )
    assert int(subprocess.check_output([sys.executable, "-c", code], text=True)) > 80


@pytest.mark.skipif(not memory._is_glibc_with_tunables(), reason="another C library")
@pytest.mark.skipif(not memory.KERNEL_SETTING.exists(), reason="a kernel without huge pages")
def test_what_was_returned_is_not_filled_again_by_huge_pages():
    """Whether the heap's mappings are kept in small pages, before and after."""
    code = (
        "from textclf_jax.runtime.memory import return_unused\n"
        "def small():\n"
        "    of_heap, found = False, []\n"
        "    for line in open('/proc/self/smaps'):\n"
        "        first, *rest = line.split()\n"
        "        if not first.endswith(':'): of_heap = rest[-1] == '[heap]'\n"
        "        elif first == 'VmFlags:' and of_heap: found.append('nh' in rest)\n"
        "    return found\n"
        "before = small()\n"
        "return_unused()\n"
        "print(any(before), small()[0])\n"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False True\n"


def test_peak_memory_is_at_least_what_is_held_now():
    held = bytearray(50_000_000)
    before = memory.peak_memory_mb()
    assert before is not None
    assert before > len(held) / 1e6
    assert memory.peak_memory_mb() >= before


def test_no_garbage_is_looked_for_in_what_is_kept():
    before = gc.get_freeze_count()
    with kept(gc.isenabled) as was_enabled:
        assert (was_enabled, gc.isenabled()) == (False, True)
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0
    with pytest.raises(ZeroDivisionError), kept(lambda: 1 // 0):
        pass
    assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0)
