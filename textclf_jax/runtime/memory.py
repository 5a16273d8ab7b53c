"""The process's memory: how much it has taken at most, huge pages, which are asked of the C library, and garbage.

Each training step on a CPU touches all of its memory again.
In pages of 4 KB the kernel's work on them takes 5 to 10% of the time (docs/performance/memory.md). glibc reads the
request from the environment, and only when a process starts.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

VARIABLE, REQUEST = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
FIRST_GLIBC = (2, 35)
MEMORY_MAP = Path("/proc/self/maps")
MADV_NOHUGEPAGE = 15  # linux/mman.h
KERNEL_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")

Loaded = TypeVar("Loaded")


def allocation_environment() -> dict[str, str]:
    """The variables to add to a process's environment; none where they would not help or the user has set them."""
    if VARIABLE in os.environ or not _is_glibc_with_tunables() or not _gives_huge_pages_on_request():
        return {}
    return {VARIABLE: REQUEST}


def return_unused() -> None:
    """Returns memory to the kernel that the C library holds unused, such as a compiler's once it is done.

    Huge pages are then off for it: with them the kernel would slowly fill the freed parts again. Memory that is asked
    for later is not affected.
    """
    if not _is_glibc_with_tunables():
        return
    library = ctypes.CDLL(None)
    library.malloc_trim(0)
    for start, end in _anonymous_memory():
        library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_NOHUGEPAGE)


@contextmanager
def kept(load: Callable[[], Loaded]) -> Iterator[Loaded]:
    """What `load` gives. Until the end Python does not look for garbage in it, nor in what it imports.

    There is none, but looking for it again and again took an eighth of the time to a first prediction.
    """
    gc.disable()
    try:
        loaded = load()
        gc.freeze()
    finally:
        gc.enable()
    try:
        yield loaded
    finally:
        gc.unfreeze()


def peak_memory_mb() -> float | None:
    """The most memory that was held so far, in MB: of the device, or on a CPU of this process; None: nothing tells."""
    import jax  # takes a second, and commands ask for huge pages before

    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        return round(statistics["peak_bytes_in_use"] / 1e6, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)


def _anonymous_memory() -> list[tuple[int, int]]:
    """Addresses of this process's writable memory that maps no file."""
    ranges = []
    for line in MEMORY_MAP.read_text(encoding="utf-8").splitlines():
        addresses, access, _, _, _, *path = line.split(maxsplit=5)
        if access == "rw-p" and path in ([], ["[heap]"]):
            start, end = addresses.split("-")
            ranges.append((int(start, 16), int(end, 16)))
    return ranges


def _gives_huge_pages_on_request() -> bool:
    try:
        return "[madvise]" in KERNEL_SETTING.read_text(encoding="ascii")
    except OSError:
        return False


def _is_glibc_with_tunables() -> bool:
    try:
        name, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").split()
        return name == "glibc" and tuple(map(int, version.split(".")[:2])) >= FIRST_GLIBC
    except (ValueError, OSError, AttributeError):
        return False
