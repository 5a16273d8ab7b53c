"""Splitting vectors into parts, such as queries, keys and values."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from textclf_jax.kernels.backend import platform
from textclf_jax.kernels.barriers import from_bits, to_bits
from textclf_jax.kernels.precision import Precision


def split(x: Float[Array, "*N D"], count: int, precision: Precision) -> list[Float[Array, "*N P"]]:
    """`jnp.split` along the last axis.

    Args:
      x: [..., D].
      count: how many parts; divides D.
      precision: where products round, the parts of the gradient are rounded before they are put together.

    Returns:
      `count` arrays [..., D / count].
    """
    return _split(x, count, precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _split(x, count: int, precision: Precision) -> Any:
    del precision
    return jnp.split(x, count, axis=-1)


def _forward(x, count: int, precision: Precision):
    return _split(x, count, precision), None


def _backward(count: int, precision: Precision, residuals, cotangents):
    del count, residuals
    # as bits: XLA on CPU puts bfloat16 parts together in float32
    whole = from_bits(jnp.concatenate([to_bits(precision.rounded(part)) for part in cotangents], axis=-1))
    if platform() == "gpu":
        # XLA would put the parts together anew in the products that read them
        whole = jax.lax.optimization_barrier(whole)
    return (whole.astype(cotangents[0].dtype),)


_split.defvjp(_forward, _backward)
