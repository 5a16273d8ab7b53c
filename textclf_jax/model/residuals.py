"""What is kept between the two passes of a training step, and when the backward pass takes it up, on CPUs.

XLA on CPU drops barriers before it fuses and orders operations. It then computes in the backward pass what was to be
kept, from larger arrays that live till then, and widens rounded arrays as soon as they exist. Programs compiled with
`COMPILER_OPTIONS` heed the barriers; elsewhere these functions do nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp

COMPILER_OPTIONS: dict[str, dict[str, bool | str]] = {"cpu": {"xla_disable_hlo_passes": "cse_barrier_expander"}}


def kept(residuals: Any) -> Any:
    """A tree of arrays that the backward pass is to read as they are."""
    return jax.lax.optimization_barrier(residuals) if _heeds_barriers() else residuals


def taken_up(held: Any, needed_with: Any) -> tuple[Any, Any]:
    """Both as they are; nothing is computed from what is held (residuals) before the other (cotangents) is known."""
    return jax.lax.optimization_barrier((held, needed_with)) if _heeds_barriers() else (held, needed_with)


def empty_now(shape: tuple[int, ...], dtype: Any, known: Any) -> jax.Array:
    """An array to be written to, made when the first element of another one is known, which fills it.

    Constants XLA on CPU makes at the beginning of a program, and holds them till they are used.
    """
    return jnp.full(shape, known.ravel()[0], dtype)


def to_bits(x: Any) -> Any:
    """An array in bfloat16 as its bits, and any other as it is. XLA on CPU gives loops float32 for bfloat16."""
    return x.view(jnp.uint16) if x.dtype == jnp.bfloat16 else x


def from_bits(x: Any) -> Any:
    """The inverse of `to_bits`."""
    return x.view(jnp.bfloat16) if x.dtype == jnp.uint16 else x


def _heeds_barriers() -> bool:
    return jax.default_backend() in COMPILER_OPTIONS
