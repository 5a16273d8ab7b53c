"""How the C library gets memory: in huge pages, and kept between steps. On a CPU a step takes half a gigabyte anew.

By default glibc returns large blocks to the kernel at once, which clears them, page by page, for the next step; in
pages of 4 KB that took a fifth of a step (docs/decisions.md). glibc reads requests from the environment, and only when
a process starts.
"""

import ctypes
import os
import sys
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
# one heap that grows and does not shrink by itself
KEEP = "glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592"
HUGE_PAGES = "glibc.malloc.hugetlb=1"
FIRST_GLIBC = (2, 35)
KERNEL_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def allocation_environment() -> dict[str, str]:
    """The variables to add to a process's environment; none with other C libraries or where the user has set them."""
    if VARIABLE in os.environ or not _is_glibc_with_tunables():
        return {}
    return {VARIABLE: f"{HUGE_PAGES}:{KEEP}" if _gives_huge_pages_on_request() else KEEP}


def restart_with_environment() -> None:
    """Runs this command anew in the same process, with the requests in its environment; returns if there are none."""
    if added := allocation_environment():
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | added)


def return_unused() -> None:
    """Gives the kernel what the C library keeps without need, such as a compiler's memory once it is done."""
    if KEEP in os.environ.get(VARIABLE, ""):
        ctypes.CDLL(None).malloc_trim(0)


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
