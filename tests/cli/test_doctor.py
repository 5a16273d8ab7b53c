"""`textclf doctor`: what it finds, and what it calls a problem."""

import pytest

from textclf_jax.cli import main
from textclf_jax.extras import install_line
from textclf_jax.runtime import diagnosis
from textclf_jax.runtime.diagnosis import Package, diagnose

WANTED = ["jax>=0.10", "gone>=1", "old>=2", "pyarrow>=1; extra == 'parquet'", "ruff; extra == 'dev'"]
INSTALLED = {"jax": "0.10.2", "old": "1.9"}


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with these packages, and a compile cache."""
    monkeypatch.setattr(diagnosis, "requires", lambda name: WANTED)
    monkeypatch.setattr(diagnosis, "_version", INSTALLED.get)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "program").write_bytes(b"x" * 3 * 2**20)
    return tmp_path


def test_packages_are_compared_with_what_is_wanted(machine):
    found = diagnose()
    assert [package.name for package in found.packages] == ["jax", "gone", "old", "pyarrow"]
    assert found.problems == [
        "gone is missing: pip install 'gone>=1'",
        "old 1.9 is not >=2: pip install 'old>=2'",
    ]
    assert dict(found.facts)["compile cache"] == f"{machine / 'cache'}, 3 MiB"


def test_an_extra_that_is_there_must_fit_too():
    assert Package("torch", None, ">=2.10", "torch").problem is None
    assert Package("torch", "2.0", ">=2.10", "torch").problem == "torch 2.0 is not >=2.10: pip install 'torch>=2.10'"
    assert Package("torch", "2.13.0+cpu", ">=2.10", "torch").problem is None


def test_what_lacks_is_said_with_its_line(machine, capsys):
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert f"missing, for: {install_line('parquet')}" in out
    assert "2 problems" in out
    assert "problem: gone is missing" in out


def test_a_gpu_that_jax_does_not_find_is_a_problem(machine, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS")
    monkeypatch.setattr(diagnosis, "platform", lambda: "cpu")
    monkeypatch.setattr(diagnosis.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert any("there is nvidia-smi" in problem and "cuda12" in problem for problem in diagnose().problems)


def test_this_environment_has_nothing_in_the_way(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "not/yet"))
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert main(["doctor"]) == 0
    assert "nothing is in the way" in capsys.readouterr().out
    assert not (tmp_path / "not").exists()
