"""Conversions between float32 and bfloat16 that XLA's CPU compiler makes fast, and what is computed between two."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from textclf_jax.kernels.backend import platform

QUIET_NAN = 0x40


def cast(x: Any, dtype: Any) -> Any:
    """`x.astype(dtype)`, to the bit; on CPUs in half the time where one dtype is float32 and the other bfloat16.

    XLA's own conversion (jax 0.10) is as slow there as an exponential. This one is made of integer operations.

    Args:
      x: any shape, any float dtype.
      dtype: of the result.

    Returns:
      Rounded to the nearest, ties to even; NaN stays NaN.
    """
    dtypes = x.dtype, jnp.dtype(dtype)
    if platform() != "cpu":
        return x.astype(dtype)
    if dtypes == (jnp.float32, jnp.bfloat16):
        return _rounded(x)
    return _widened(x) if dtypes == (jnp.bfloat16, jnp.float32) else x.astype(dtype)


def at_least_float32(x: Any) -> Any:
    """x in float32 or wider: what is computed of bfloat16 is rounded once, at its end."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def scaled(x: Any, factor: float) -> Any:
    """x times a number, in x's dtype. Rounded to bfloat16 the number would be off by up to 0.4%, for all of x alike."""
    return (at_least_float32(x) * factor).astype(x.dtype)


@jax.custom_vjp
def _rounded(x) -> Any:
    bits = x.view(jnp.uint32)
    upper = bits >> 16
    # half of the last place that stays, or a bit less where that place is even
    nearest = (bits + (upper & 1) + 0x7FFF) >> 16
    return jnp.where(jnp.isnan(x), upper | QUIET_NAN, nearest).astype(jnp.uint16).view(jnp.bfloat16)


@jax.custom_vjp
def _widened(x) -> Any:
    return (x.view(jnp.uint16).astype(jnp.uint32) << 16).view(jnp.float32)


def _forward(convert, x):
    return convert(x), None


_rounded.defvjp(functools.partial(_forward, _rounded), lambda _, cotangent: (cotangent.astype(jnp.float32),))
_widened.defvjp(functools.partial(_forward, _widened), lambda _, cotangent: (cotangent.astype(jnp.bfloat16),))
