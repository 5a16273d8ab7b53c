"""Windows, as far as it can be tried elsewhere: nothing that it lacks is needed to import or start."""

import ast
import mmap
import os
from pathlib import Path

import pytest

import textclf_jax
from tests import tiny
from textclf_jax.cli import main
from textclf_jax.config.file import dump_config
from textclf_jax.data.torch_files import read_tensors, release_memory
from textclf_jax.runs import lock
from textclf_jax.runs.lock import RunLock

PACKAGE = Path(textclf_jax.__file__).parent
# of the standard library, not on Windows
MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
FUNCTIONS = {
    "chown",
    "confstr",
    "fork",
    "getuid",
    "getpgid",
    "killpg",
    "mkfifo",
    "pread",
    "pwrite",
    "setsid",
    "sysconf",
}
GUARDED = {("runtime/memory.py", "confstr")}  # catches the AttributeError


def unguarded(tree: ast.Module) -> set[str]:
    """Modules and functions of `os` that Windows lacks, where no `except ImportError` stands by."""
    found = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Try) and any("ImportError" in ast.dump(handler) for handler in node.handlers):
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & MODULES
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} & MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found |= {node.attr} & FUNCTIONS
        todo += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_modules_need_nothing_that_windows_lacks(path):
    module = path.relative_to(PACKAGE).as_posix()
    found = unguarded(ast.parse(path.read_text(encoding="utf-8")))
    assert {name for name in found if (module, name) not in GUARDED} == set()


def test_the_check_sees_what_it_looks_for():
    source = "import fcntl, os\ntry:\n    import pwd\nexcept ImportError:\n    pwd = None\nos.fork()\n"
    assert unguarded(ast.parse(source)) == {"fcntl", "fork"}


@pytest.fixture
def windows(monkeypatch):
    """Without some of what Windows lacks."""
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.delattr(mmap, "MADV_DONTNEED")
    for name in {"confstr", "pread", "pwrite"} & set(dir(os)):
        monkeypatch.delattr(os, name)


def test_a_run_without_locks_says_so(windows, tmp_path, capsys):
    with RunLock(tmp_path):
        assert "has no locks; start one process only" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_data_is_read_and_a_run_is_checked(windows, tmp_path, monkeypatch, capsys):
    tiny.write_data(tmp_path / "data")
    release_memory(read_tensors(tmp_path / "data/mlm/train.pt")[0])
    folder = tmp_path / "experiments/pretraining/tiny"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump_config(tiny.pretraining(Path("data"))), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["pretrain", "tiny", "--dry-run"]) == 0
    assert "train data" in capsys.readouterr().out
