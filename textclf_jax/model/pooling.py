"""Pooling token vectors to one vector a text."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def pool(x: Float[Array, "B L D"], lengths: Int[Array, " B"], kind: str, stride: int = 512) -> Float[Array, "B D"]:
    """Pools the real tokens of each row.

    Args:
      x: [B, L, D] token vectors, any float dtype.
      lengths: [B] number of real tokens of each row.
      kind: cls (token 0), mean, max, min, or strided_mean (mean of the tokens 0, stride, 2 stride, ...).
      stride: tokens, for strided_mean.

    Returns:
      [B, D] float32. A row without real tokens gives 0 for the means and the extreme finite number for max and min.
    """
    x = x.astype(jnp.float32)
    real = jnp.arange(x.shape[1]) < lengths[:, None]
    if kind == "cls":
        return x[:, 0]
    if kind in ("max", "min"):
        limit = jnp.finfo(jnp.float32)
        filled = jnp.where(real[..., None], x, limit.min if kind == "max" else limit.max)
        return filled.max(axis=1) if kind == "max" else filled.min(axis=1)
    if kind == "strided_mean":
        x, real = x[:, ::stride], real[:, ::stride]
    total = jnp.where(real[..., None], x, 0).sum(axis=1)
    return total / jnp.maximum(real.sum(axis=1), 1)[:, None]
