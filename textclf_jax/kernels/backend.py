"""What the programs run on: the one place that asks JAX, and the choices that follow from it."""

import jax
import jax.numpy as jnp


def platform() -> str:
    """The name of the default JAX backend: "cpu", "gpu" or another."""
    return jax.default_backend()


def flash_attention_fits(dtype, head_dim: int, *, drops_weights: bool) -> bool:
    """Whether cuDNN's flash attention can be used: on a GPU, in bfloat16, without dropout of attention weights.

    It never forms the weights, so it cannot drop them.
    """
    return platform() == "gpu" and dtype == jnp.bfloat16 and not drops_weights and head_dim % 8 == 0


def masks_between_texts() -> bool:
    """Whether exact attention can mask the keys of other texts; flash attention, used on GPUs, cannot."""
    return platform() != "gpu"
