"""Rotary position embedding (Su et al. 2021, RoFormer)."""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from textclf_jax.config.schema import Rope


def rotary_tables(
    length: int, head_dim: int, settings: Rope
) -> tuple[Float[np.ndarray, "L K"], Float[np.ndarray, "L K"]]:
    """Computes cosines and sines of position times frequency, the K/2 frequencies twice side by side.

    Args:
      length: L, positions 0..L-1.
      head_dim: K, even.
      settings: frequency j is rope_base ** (-j / (K/2)) * rope_scale radians a position.

    Returns:
      Cosines and sines, each [L, K] float32, rounded from float64; read-only.

    Source: RoFormer, eq. 15.
    """
    return _tables(length, head_dim, settings.rope_base, settings.rope_scale)


# the same arrays for all layers: a program then holds them once, not for each layer's queries and keys
@functools.lru_cache(maxsize=4)
def _tables(length: int, head_dim: int, base: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    half = head_dim // 2
    frequencies = base ** (-np.arange(half) / half)
    angles = np.arange(length)[:, None] * frequencies * scale
    angles = np.concatenate([angles, angles], axis=1)
    tables = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    for table in tables:
        table.flags.writeable = False
    return tables


def rotate(
    x: Float[Array, "B L H K"],
    settings: Rope,
    position_ids: Int[Array, "B L"] | None = None,
    *,
    num_positions: int | None = None,
) -> Float[Array, "B L H K"]:
    """Rotates channel pairs by angles proportional to the position.

    The standard variant pairs channel j with j + K/2, which makes every pair a true rotation: norms are kept and scores
    depend on relative positions. `variant: reference` pairs neighbours with the same tables, as the PyTorch reference
    does; that is not a rotation (for K > 2) and serves imported checkpoints only.

    Args:
      x: [B, L, H, K] queries or keys, any float dtype; K even.
      settings: base, scale and variant.
      position_ids: [B, L] in [0, num_positions); 0..L-1 by default.
      num_positions: L by default.

    Returns:
      [B, L, H, K] in x's dtype.

    Source: RoFormer, eq. 34.
    """
    # fp32: at position 16,384 a bf16 angle is off by tens of radians
    cos, sin = (
        jnp.asarray(table)[:, None, :] if position_ids is None else jnp.asarray(table)[position_ids][:, :, None, :]
        for table in rotary_tables(num_positions or x.shape[1], x.shape[-1], settings)
    )
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if settings.variant == "reference":
        even, odd = wide[..., 0::2], wide[..., 1::2]
        partner = jnp.stack([-odd, even], axis=-1).reshape(x.shape)
    else:
        first, second = jnp.split(wide, 2, axis=-1)
        partner = jnp.concatenate([-second, first], axis=-1)
    return (wide * cos + partner * sin).astype(x.dtype)
