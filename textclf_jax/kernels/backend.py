"""What the programs run on: the one place that asks JAX, and the choices that follow from it."""

import re

import jax
import jax.numpy as jnp

from textclf_jax.kernels.spans import why_jax_has_no_spans

# compute capabilities of NVIDIA's generations
AMPERE, HOPPER = (8, 0), (9, 0)


def platform() -> str:
    """The name of the default JAX backend: "cpu", "gpu" or another."""
    return jax.default_backend()


def compute_capability() -> tuple[int, int] | None:
    """That of the first CUDA device, such as (9, 0); None where there is none."""
    found = re.fullmatch(r"(\d+)\.(\d+)", getattr(jax.devices()[0], "compute_capability", ""))
    return (int(found[1]), int(found[2])) if found else None


def gpu_has_bf16() -> bool:
    """Whether the GPU multiplies bfloat16; NVIDIA's before Ampere, such as V100 and T4, do not."""
    capability = compute_capability()
    return platform() == "gpu" and (capability is None or capability >= AMPERE)


def why_no_flash_attention(dtype, head_dim: int, *, drops_weights: bool) -> str | None:
    """What is in the way of cuDNN's flash attention, a clause; None where it can be used.

    It never forms the weights, so it cannot drop them.
    """
    capability = compute_capability()
    if platform() != "gpu" or capability is None:
        return "it needs a CUDA device, and JAX finds none"
    if capability < AMPERE:
        return f"it needs compute capability 8.0, and this GPU has {'.'.join(map(str, capability))}"
    if dtype != jnp.bfloat16:
        return f"it computes in bfloat16, and this run in {jnp.dtype(dtype).name}"
    largest = 256 if capability >= HOPPER else 128
    if head_dim % 8 or head_dim > largest:
        return f"on this GPU it needs heads of a multiple of 8 channels, {largest} at most, and these have {head_dim}"
    return "it cannot drop attention weights" if drops_weights else None


def flash_attention_fits(dtype, head_dim: int, *, drops_weights: bool) -> bool:
    """Whether cuDNN's flash attention can be used."""
    return why_no_flash_attention(dtype, head_dim, drops_weights=drops_weights) is None


def why_not_within_spans(dtype, head_dim: int, *, drops_weights: bool) -> str | None:
    """What is in the way of cuDNN's flash attention within each text of a row, a clause; None where it can be used."""
    if reason := why_no_flash_attention(dtype, head_dim, drops_weights=drops_weights):
        return reason
    capability = compute_capability()
    if capability is None or capability < HOPPER:
        return "it needs compute capability 9.0"
    return why_jax_has_no_spans()


def masks_between_texts() -> bool:
    """Whether exact attention masks the keys of other texts; on GPUs that would take flash attention's place."""
    return platform() != "gpu"
