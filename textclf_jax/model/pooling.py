"""Pooling token vectors to one vector a text."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from textclf_jax.kernels.reductions import maximum

Pool = Callable[[Float[Array, "B L D"], Bool[Array, "B L"], int], Float[Array, "B D"]]


def first(x, real, stride: int):
    """The vector of token 0, which is [CLS]. x [B, L, D] float32 or wider, real [B, L] -> [B, D], as all of these."""
    del real, stride
    return x[:, 0]


def mean(x, real, stride: int):
    """The mean of the real tokens."""
    del stride
    total = jnp.where(real[..., None], x, 0).sum(axis=1)
    return total / jnp.maximum(real.sum(axis=1), 1)[:, None]


def strided_mean(x, real, stride: int):
    """The mean of the real ones among the tokens 0, stride, 2 stride, ..."""
    return mean(x[:, ::stride], real[:, ::stride], stride)


def largest(x, real, stride: int):
    """The largest value of each channel among the real tokens."""
    del stride
    return maximum(jnp.where(real[..., None], x, jnp.finfo(x.dtype).min), axis=1)[:, 0]


def smallest(x, real, stride: int):
    """The smallest value of each channel among the real tokens."""
    return -largest(-x, real, stride)


POOL: dict[str, Pool] = {
    "cls": first,
    "mean": mean,
    "max": largest,
    "min": smallest,
    "strided_mean": strided_mean,
}


def pool(x: Float[Array, "B L D"], lengths: Int[Array, " B"], kind: str, stride: int = 512) -> Float[Array, "B D"]:
    """Pools the real tokens of each row.

    Args:
      x: [B, L, D] token vectors, any float dtype.
      lengths: [B] number of real tokens of each row.
      kind: key of `POOL`.
      stride: tokens, for strided_mean.

    Returns:
      [B, D] float32 or wider. A row without real tokens gives 0 for the means and the extreme finite number for max
      and min.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return POOL[kind](x, jnp.arange(x.shape[1]) < lengths[:, None], stride)
