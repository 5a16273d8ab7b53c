import os
import subprocess
import sys

import pytest

from textclf_jax import huge_pages
from textclf_jax.huge_pages import REQUEST, VARIABLE, huge_page_environment


@pytest.fixture
def kernel(monkeypatch, tmp_path):
    """Sets what the kernel says, on a C library that can ask."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(huge_pages, "KERNEL_SETTING", tmp_path / "enabled")
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    return (tmp_path / "enabled").write_text


def test_asked_for_where_the_kernel_gives_them_on_request(kernel):
    kernel("always [madvise] never\n")
    assert huge_page_environment() == {VARIABLE: REQUEST}


@pytest.mark.parametrize("setting", ["[always] madvise never\n", "always madvise [never]\n"])
def test_not_asked_for_where_it_changes_nothing(kernel, setting):
    kernel(setting)
    assert huge_page_environment() == {}


def test_not_asked_for_without_such_a_kernel(kernel):
    assert huge_page_environment() == {}


@pytest.mark.parametrize("version", ["glibc 2.34", "musl 1.2.5", "", None])
def test_not_asked_of_other_libraries(kernel, monkeypatch, version):
    kernel("always [madvise] never\n")
    monkeypatch.setattr(os, "confstr", lambda name: version)
    assert huge_page_environment() == {}


def test_the_users_own_setting_stays(kernel, monkeypatch):
    kernel("always [madvise] never\n")
    monkeypatch.setenv(VARIABLE, "glibc.malloc.arena_max=1")
    assert huge_page_environment() == {}


def test_the_command_runs_once_in_the_same_process_with_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from textclf_jax import huge_pages\n"
        f"added = {{}} if '{VARIABLE}' in os.environ else {{'{VARIABLE}': '{REQUEST}'}}\n"
        "huge_pages.huge_page_environment = lambda: added\n"
        "huge_pages.restart_with_huge_pages()\n"
        f"print(os.getpid(), os.environ['{VARIABLE}'], sys.argv[1:])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with subprocess.Popen(
        [sys.executable, script, "a b", "--c"], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        output, _ = process.communicate()
    assert output == f"{process.pid} {REQUEST} ['a b', '--c']\n"
