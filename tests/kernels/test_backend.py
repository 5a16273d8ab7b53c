"""What GPUs can do, by their compute capability; asked on a machine that pretends to have one."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from textclf_jax.kernels.backend import compute_capability, flash_attention_fits, gpu_has_bf16, why_no_flash_attention


@pytest.fixture
def gpu(monkeypatch):
    """Makes JAX find a GPU of a compute capability."""

    def found(capability: str) -> None:
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
        monkeypatch.setattr(jax, "devices", lambda: [SimpleNamespace(compute_capability=capability)])

    return found


def test_a_cpu_has_none_of_it():
    assert compute_capability() is None
    assert not gpu_has_bf16()
    assert why_no_flash_attention(jnp.bfloat16, 64, drops_weights=False) == (
        "it needs a CUDA device, and JAX finds none"
    )


@pytest.mark.parametrize(
    ("found", "capability", "bf16"),
    [
        ("7.0", (7, 0), False),  # V100
        ("7.5", (7, 5), False),  # T4
        ("8.9", (8, 9), True),
        ("10.3", (10, 3), True),
        ("gfx942", None, True),  # AMD's
    ],
)
def test_bfloat16_begins_with_ampere(gpu, found, capability, bf16):
    gpu(found)
    assert compute_capability() == capability
    assert gpu_has_bf16() == bf16


@pytest.mark.parametrize(
    ("capability", "dtype", "head_dim", "drops_weights", "reason"),
    [
        ("8.0", jnp.bfloat16, 128, False, None),
        ("9.0", jnp.bfloat16, 256, False, None),
        ("12.0", jnp.bfloat16, 256, False, None),
        ("gfx942", jnp.bfloat16, 64, False, "it needs a CUDA device, and JAX finds none"),
        ("7.5", jnp.float32, 64, False, "it needs compute capability 8.0, and this GPU has 7.5"),
        ("9.0", jnp.float32, 64, False, "it computes in bfloat16, and this run in float32"),
        ("8.9", jnp.bfloat16, 136, False, "multiple of 8 channels, 128 at most, and these have 136"),
        ("9.0", jnp.bfloat16, 264, False, "multiple of 8 channels, 256 at most, and these have 264"),
        ("9.0", jnp.bfloat16, 60, False, "multiple of 8 channels, 256 at most, and these have 60"),
        ("9.0", jnp.bfloat16, 64, True, "it cannot drop attention weights"),
    ],
)
def test_flash_attention_has_conditions(gpu, capability, dtype, head_dim, drops_weights, reason):
    gpu(capability)
    found = why_no_flash_attention(dtype, head_dim, drops_weights=drops_weights)
    assert found is None if reason is None else reason in (found or "")
    assert flash_attention_fits(dtype, head_dim, drops_weights=drops_weights) == (reason is None)
