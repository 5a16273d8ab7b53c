"""Which tests `make check` runs."""

import subprocess

import pytest

from scripts.changed_tests import ALWAYS, ROOT, changed_files, matching_tests, select


@pytest.fixture
def root(tmp_path):
    """A repository's tests."""
    for name in ("kernels/test_gelu.py", "model/test_attention.py", "model/test_lsh.py", "cli/test_shell.py"):
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).touch()
    for name in ("benchmarks/test_report.py", "experiments/test_generate.py", "test_script.py"):
        (tmp_path / "tests" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "tests" / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("textclf_jax/kernels/gelu.py", "tests/kernels/test_gelu.py"),
        ("textclf_jax/model/attention/lsh.py", "tests/model/test_lsh.py"),
        ("textclf_jax/model/attention/__init__.py", "tests/model/test_attention.py"),
        ("textclf_jax/cli/__init__.py", "tests/cli"),
        ("textclf_jax/kernels/backend.py", "tests/kernels"),
        ("textclf_jax/untested/module.py", None),
        ("textclf_jax/errors.py", None),
        ("textclf_jax/kernels/notes.txt", None),
        ("tests/kernels/test_gelu.py", "tests/kernels/test_gelu.py"),
        ("tests/kernels/test_removed.py", None),
        ("tests/kernels/cases.py", "tests/kernels"),
        ("tests/conftest.py", None),
        ("benchmarks/report.py", "tests/benchmarks/test_report.py"),
        ("benchmarks/results/cpu.json", None),
        ("experiments/generate_finetuning_experiment.py", "tests/experiments"),
        ("scripts/script.py", "tests/test_script.py"),
        ("scripts/untested.py", None),
        ("scripts/kernels/gelu.py", "tests/kernels/test_gelu.py"),
        ("docs/decisions.md", None),
        ("pretrain.py", None),
    ],
)
def test_a_file_has_its_tests(root, changed, tests):
    """Those of the module, or else of the room."""
    assert matching_tests(changed, root) == tests


def test_a_whole_folder_stands_for_its_files(root):
    changed = ["textclf_jax/kernels/gelu.py", "textclf_jax/kernels/backend.py", "tests/model/test_lsh.py"]
    assert select(changed, root) == ["tests/kernels", "tests/model/test_lsh.py", *ALWAYS]


def test_without_changes_the_rules_of_the_repository_are_tested():
    assert select([]) == list(ALWAYS)
    assert all((ROOT / path).is_file() for path in ALWAYS)


def test_changed_is_what_the_branch_and_the_folder_have(tmp_path):
    """Committed on the branch, not yet committed, removed and new files; not what the other branch did meanwhile."""

    def git(*arguments):
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def commit(**contents):
        for name, text in contents.items():
            (tmp_path / name).write_text(text)
        git("add", ".")
        git("commit", "-m", "x")

    git("init", "-b", "main")
    commit(a="1", b="1", c="1", d="1")
    git("checkout", "-b", "work")
    commit(a="2")
    git("checkout", "main")
    commit(d="2")
    git("checkout", "work")
    (tmp_path / "b").write_text("2")
    (tmp_path / "c").unlink()
    (tmp_path / "e").write_text("new")
    assert sorted(changed_files("main", tmp_path)) == ["a", "b", "c", "e"]
    assert sorted(changed_files("no-such-branch", tmp_path)) == ["b", "c", "e"]
