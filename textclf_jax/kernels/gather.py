"""Picking vectors out of a batch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.kernels.barriers import buffer_after
from textclf_jax.kernels.shards import is_divided, on_each_shard, shard_number, sum_to_shards


def gather_rows(x: Float[Array, "N D"], places: Int[Array, "*P"]) -> Float[Array, "*P D"]:
    """x[places]: the rows of x [N, D] at places [...], each in [0, N)."""
    if is_divided():
        return on_each_shard(_gather_from_shards, (x,), (places,))
    return _gather(x, places, len(x))


def _gather_from_shards(x, places):
    """Rows of all shards at places in the whole array; each shard gets its part of them.

    What is sent is as large as the result: XLA would send all of x.
    """
    number = shard_number()
    assert number is not None
    places = places - number * len(x)
    is_here = (places >= 0) & (places < len(x))
    rows: Any = _gather(x, jnp.clip(places, 0, len(x) - 1), len(x))
    return sum_to_shards(jnp.where(is_here[..., None], rows, 0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _gather(x, places, count: int) -> Any:
    del count
    return x[places]


def _forward(x, places, count: int):
    return _gather(x, places, count), places


def _backward(count: int, places, cotangent):
    # zeros made of the cotangent, so that XLA does not allocate them earlier. If its first element is not finite they
    # are NaN, and the step is skipped, as it would be anyway
    first = cotangent.reshape(-1, cotangent.shape[-1])[0]
    zeros = buffer_after((count, cotangent.shape[-1]), cotangent.dtype, 0 * first)
    return zeros.at[places].add(cotangent), None


_gather.defvjp(_forward, _backward)
