"""When XLA's CPU compiler computes what: barriers that it respects, and buffers that it does not make too early.

XLA on CPU drops barriers before it fuses and orders operations. It then computes residuals again in the backward pass,
from larger arrays that live till then, and widens rounded arrays as soon as they exist. Programs compiled with
`COMPILER_OPTIONS` respect the barriers; on other platforms `materialize` and `delay_until` do nothing.
"""

from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax.kernels.backend import platform

COMPILER_OPTIONS: dict[str, dict[str, bool | str]] = {"cpu": {"xla_disable_hlo_passes": "cse_barrier_expander"}}


def materialize(arrays: Any) -> Any:
    """A tree of arrays that are written out as they are: whoever reads them does not compute them again."""
    return jax.lax.optimization_barrier(arrays) if _respects_barriers() else arrays


def delay_until(arrays: Any, others: Any) -> tuple[Any, Any]:
    """Both trees unchanged; nothing is computed from the first before the second is known.

    In a backward pass: residuals are not touched before the cotangents are there.
    """
    return jax.lax.optimization_barrier((arrays, others)) if _respects_barriers() else (arrays, others)


def buffer_after(shape: tuple[int, ...], dtype: Any, known: Any) -> jax.Array:
    """An array to be overwritten, made when `known` is known, with whose first element it is filled.

    XLA on CPU would make a constant at the beginning of a program, and hold it till it is used.
    """
    return jnp.full(shape, known.ravel()[0], dtype)


def to_bits(x: Any) -> Any:
    """An array in bfloat16 as its bits, any other unchanged: XLA on CPU turns bfloat16 in loops into float32.

    Not for arrays in uint16, which `from_bits` would take for bits.
    """
    return x.view(jnp.uint16) if x.dtype == jnp.bfloat16 else x


def from_bits(x: Any) -> Any:
    """The inverse of `to_bits`."""
    return x.view(jnp.bfloat16) if x.dtype == jnp.uint16 else x


def _respects_barriers() -> bool:
    return platform() in COMPILER_OPTIONS
