"""The cache of compiled programs, and what a run may ask of a device."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from tests import tiny
from textclf_jax.errors import UserError
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.runtime.device import (
    cache_folder,
    compute_precision,
    device_notes,
    on_any_device,
    require_flash_attention,
    set_up_device,
    usable_cache,
)


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


# --- what the device can do -----------------------------------------------------------------------------------


@pytest.fixture
def gpu(environment):
    """Makes JAX find a GPU of a compute capability."""

    def found(capability: str) -> None:
        device = SimpleNamespace(compute_capability=capability, device_kind="Tesla")
        environment.setattr(jax, "default_backend", lambda: "gpu")
        environment.setattr(jax, "devices", lambda: [device])

    return found


def with_flash_attention(*, head_dim: int = 8, attn_dropout: float = 0.0, use_amp: bool = True):
    attention = {"num_heads": 2, "attn_dropout": attn_dropout, "mha": {"implementation": "cudnn"}}
    architecture = tiny.architecture(attention=attention, embedding_dim=2 * head_dim)
    return tiny.pretraining(Path("data"), architecture=architecture, training={"use_amp": use_amp, "device": "cuda"})


def test_a_gpu_without_bfloat16_computes_in_float32_and_the_run_says_so(gpu, monkeypatch):
    """Whatever the CPU beside it can do."""
    monkeypatch.setattr("textclf_jax.runtime.device.cpu_multiplies_bf16", lambda: True)
    config = with_flash_attention().training
    half = Precision(jnp.bfloat16, jnp.bfloat16)
    for capability, precision, name in (
        ("7.0", FULL, "cuda (Tesla), in float32: it has no bfloat16"),
        ("8.0", half, "cuda (Tesla)"),
    ):
        gpu(capability)
        assert compute_precision(config) == precision
        assert set_up_device(config) == name
    exact = config.model_copy(update={"use_amp": False})
    gpu("7.0")
    assert (compute_precision(exact), set_up_device(exact)) == (FULL, "cuda (Tesla)")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"use_amp": False}, "it computes in bfloat16, and this run in float32"),
        ({"head_dim": 264}, "256 at most, and these have 264"),
        ({"attn_dropout": 0.1}, "it cannot drop attention weights"),
    ],
)
def test_flash_attention_that_cannot_be_had_is_refused(gpu, changes, reason):
    gpu("9.0")
    require_flash_attention(with_flash_attention())
    config = with_flash_attention(**changes)
    with pytest.raises(UserError, match=reason) as refusal:
        require_flash_attention(config)
    assert "architecture.attention.mha.implementation is cudnn" in str(refusal.value)
    # the remedy
    assert "Set it to auto" in str(refusal.value)
    require_flash_attention(on_any_device(config))


def test_a_run_says_that_dropping_weights_loses_flash_attention(gpu):
    def notes(**attention):
        architecture = tiny.architecture(attention={"num_heads": 2, **attention})
        training = {"use_amp": True, "device": "cuda"}
        return device_notes(tiny.pretraining(Path("data"), architecture=architecture, training=training))

    gpu("9.0")
    (note,) = notes(attn_dropout=0.1)
    assert "architecture.attention.attn_dropout is 0.1" in note
    # the remedy; no flash attention is asked for, or the kind has none
    assert not notes(attn_dropout=0.0)
    assert not notes(attn_dropout=0.1, mha={"implementation": "xla"})
    assert not notes(attn_dropout=0.1, kind="local", local={})
    gpu("7.0")
    assert not notes(attn_dropout=0.1)


def test_a_trained_model_asks_nothing_of_the_device():
    """And else its configuration is the same."""
    config = with_flash_attention()
    free = on_any_device(config)
    assert (free.training.device, free.architecture.attention.mha.implementation) == ("auto", "auto")
    before, after = config.model_dump(), free.model_dump()
    before["training"]["device"] = before["architecture"]["attention"]["mha"]["implementation"] = "auto"
    assert after == before
    without = tiny.architecture(attention={"mha": {"implementation": "xla"}})
    on_cpu = tiny.pretraining(Path("data"), architecture=without)
    assert on_any_device(on_cpu) == on_cpu
