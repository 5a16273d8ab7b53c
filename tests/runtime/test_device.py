"""The cache of compiled programs: where it is, and what happens where none can be had."""

from pathlib import Path

import jax
import pytest

from tests import tiny
from textclf_jax.runtime.device import cache_folder, set_up_device, usable_cache


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A user with a home and no variables about caches; what JAX is told is undone afterwards."""
    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    usable_cache.cache_clear()
    before = jax.config.values["jax_compilation_cache_dir"]
    yield monkeypatch
    jax.config.update("jax_compilation_cache_dir", before)
    usable_cache.cache_clear()


def without_home(monkeypatch) -> None:
    """As for a process whose user has neither HOME nor an account."""

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)


def test_where_the_cache_is(environment, tmp_path):
    assert cache_folder() == tmp_path / ".cache/textclf_jax/xla"
    environment.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == tmp_path / ".cache/textclf_jax/xla"
    environment.setenv("XDG_CACHE_HOME", "/big")
    assert cache_folder() == Path("/big/textclf_jax/xla")
    without_home(environment)
    assert cache_folder() == Path("/big/textclf_jax/xla")
    environment.setenv("JAX_COMPILATION_CACHE_DIR", "/here")
    assert cache_folder() == Path("/here")


def set_up(times: int = 2) -> str | None:
    for _ in range(times):
        set_up_device(tiny.pretraining(Path("data")).training)
    return jax.config.values["jax_compilation_cache_dir"]


def test_a_cache_is_made_and_used_without_a_word(environment, tmp_path, capsys):
    assert set_up() == str(tmp_path / ".cache/textclf_jax/xla")
    assert (tmp_path / ".cache/textclf_jax/xla").is_dir()
    assert capsys.readouterr() == ("", "")


def test_without_a_home_there_is_no_cache_and_one_line_says_so(environment, capsys):
    without_home(environment)
    assert set_up() is None
    said = capsys.readouterr().err
    assert said.startswith("note: compiled programs are not kept: there is no home folder.")
    assert said.count("\n") == 1


def test_a_cache_that_cannot_be_written_is_one_line(environment, tmp_path, capsys):
    (tmp_path / ".cache").write_text("a file where the folder should be")
    assert set_up() is None
    said = capsys.readouterr().err
    assert f"note: compiled programs are not kept in {tmp_path / '.cache/textclf_jax/xla'}: " in said
    assert said.count("\n") == 1


def test_an_empty_variable_turns_the_cache_off_without_a_word(environment, capsys):
    environment.setenv("JAX_COMPILATION_CACHE_DIR", "")
    assert set_up() is None
    assert capsys.readouterr().err == ""
