"""Cutting sequences into chunks that see their neighbours; shared by the sparse attention kinds."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from textclf_jax.kernels.backend import platform


def pad_to_multiple(x: Shaped[Array, "..."], multiple: int, axis: int) -> Shaped[Array, "..."]:
    """Appends zeros along `axis` until its size is a multiple of `multiple`."""
    missing = -x.shape[axis] % multiple
    widths = [(0, missing if i == axis % x.ndim else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths) if missing else x


def cut(x: Shaped[Array, "..."], size: int, axis: int) -> Shaped[Array, "..."]:
    """Splits `axis` (a multiple of `size`) into two: number of chunks, and `size`."""
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], x.shape[axis] // size, size, *x.shape[axis + 1 :])


def with_neighbours(x: Shaped[Array, "..."], axis: int, fill) -> Shaped[Array, "..."]:
    """Puts previous, own and next chunk side by side.

    Args:
      x: chunks along `axis`, the places within a chunk along `axis + 1`.
      axis: the axis of chunks.
      fill: the value of the chunk before the first and after the last.

    Returns:
      x's shape with `axis + 1` three times as long.
    """
    axis %= x.ndim
    count = x.shape[axis]
    edge = jnp.full_like(x, fill, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    # concatenation: XLA on CPU has miscompiled shifted in-place updates followed by a reshape (openxla/xla #49176)
    padded = jnp.concatenate([edge, x, edge], axis=axis)
    shifted = [_part(padded, start, count, axis) for start in range(3)]
    return jnp.concatenate(shifted, axis=axis + 1)


def _part(x, start: int, count: int, axis: int):
    if platform() == "gpu":
        # of the gradient of what is taken XLA would make a scatter, which nothing fuses with
        return jax.lax.slice_in_dim(x, start, start + count, axis=axis)
    return jnp.take(x, jnp.arange(start, start + count), axis=axis)
