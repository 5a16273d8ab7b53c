"""Pooling token vectors to one vector a text."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.reductions import largest


def pool(x: Float[Array, "B L D"], lengths: Int[Array, " B"], kind: str, stride: int = 512) -> Float[Array, "B D"]:
    """Pools the real tokens of each row.

    Args:
      x: [B, L, D] token vectors, any float dtype.
      lengths: [B] number of real tokens of each row.
      kind: cls (token 0), mean, max, min, or strided_mean (mean of the tokens 0, stride, 2 stride, ...).
      stride: tokens, for strided_mean.

    Returns:
      [B, D] float32 or wider. A row without real tokens gives 0 for the means and the extreme finite number for max
      and min.
    """
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    real = jnp.arange(x.shape[1]) < lengths[:, None]
    if kind == "cls":
        return x[:, 0]
    if kind in ("max", "min"):
        sign = 1.0 if kind == "max" else -1.0
        filled = jnp.where(real[..., None], sign * x, jnp.finfo(x.dtype).min)
        return sign * largest(filled, axis=1)[:, 0]
    if kind == "strided_mean":
        x, real = x[:, ::stride], real[:, ::stride]
    total = jnp.where(real[..., None], x, 0).sum(axis=1)
    return total / jnp.maximum(real.sum(axis=1), 1)[:, None]
