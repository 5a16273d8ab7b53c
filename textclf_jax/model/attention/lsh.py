"""Locality-sensitive hashing attention (kind `lsh`; Kitaev et al. 2020, Reformer)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from textclf_jax.config import Lsh
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours
from textclf_jax.model.attention.weighting import MASKED_SCORE, weighted_values
from textclf_jax.model.precision import FULL, Precision

# A token attends to itself only where nothing else is allowed: far below any score, far above MASKED_SCORE
SELF_SCORE = -1e5


class HashedOrder(NamedTuple):
    """Where each token goes in each hash round. All [B, R, H, L']."""

    codes: Int[Array, "B R H L"]
    order: Int[Array, "B R H L"]
    inverse: Int[Array, "B R H L"]


def padded_length(length: int, settings: Lsh) -> int:
    """L': the length rounded up to whole chunks (an even number of them in the reference)."""
    unit = settings.chunk_size * (2 if settings.variant == "reference" else 1)
    return -(-length // unit) * unit


def num_buckets(length: int, max_length: int, settings: Lsh) -> int:
    """The even number of buckets: of this batch's length in the reference, of the configured length otherwise."""
    basis = length if settings.variant == "reference" else max_length
    return 2 * -(-basis // (2 * settings.chunk_size))


def draw_rotations(key: Array, num_heads: int, head_dim: int, buckets: int, settings: Lsh) -> Float[Array, "R H K N"]:
    """Draws random directions [R, H, K, buckets / 2] of unit length, one set for each round and head."""
    directions = jax.random.normal(key, (settings.num_hashes, num_heads, head_dim, buckets // 2))
    return directions / jnp.linalg.norm(directions, axis=2, keepdims=True)


def hash_and_sort(
    qk: Float[Array, "B H L K"], real: Bool[Array, "B 1 L"], rotations: Float[Array, "R H K N"], settings: Lsh
) -> HashedOrder:
    """Hashes tokens to buckets and sorts them by (bucket, position), padding first (reference) or last (standard).

    Source: Reformer, section 2: h(x) = argmax([xR; -xR]).
    """
    projected = jnp.einsum("bhlk,rhkn->brhln", qk, rotations)
    codes = jnp.argmax(jnp.concatenate([projected, -projected], axis=-1), axis=-1)
    pad_code = -1 if settings.variant == "reference" else 2 * rotations.shape[-1]
    codes = jnp.where(real[:, None], codes, pad_code)
    order = jnp.argsort(codes, axis=-1, stable=True)
    return HashedOrder(codes, order, jnp.argsort(order, axis=-1))


def _mask_scores(hashed: HashedOrder, real: Array, settings: Lsh) -> Float[Array, "B R H N c 3*c"]:
    """The numbers to add to the scores of each chunk's queries against the keys of three chunks."""

    def chunked(x):
        return cut(jnp.take_along_axis(x, hashed.order, axis=-1), settings.chunk_size, axis=-1)

    places = cut(hashed.order, settings.chunk_size, axis=-1)
    is_real = chunked(jnp.broadcast_to(real[:, None], hashed.codes.shape))
    codes = chunked(hashed.codes)
    forbidden = ~with_neighbours(is_real, axis=-2, fill=False)[..., None, :]
    if settings.mask_within_chunks:
        forbidden |= codes[..., :, None] != with_neighbours(codes, axis=-2, fill=-1)[..., None, :]
    itself = places[..., :, None] == with_neighbours(places, axis=-2, fill=-1)[..., None, :]
    self_score = MASKED_SCORE if settings.variant == "reference" else SELF_SCORE
    return jnp.where(forbidden, MASKED_SCORE, jnp.where(itself, self_score, 0.0)).astype(jnp.float32)


def lsh_attention(
    qk: Float[Array, "B L H K"],
    v: Float[Array, "B L H K"],
    lengths: Int[Array, " B"],
    rotations: Float[Array, "R H K N"],
    *,
    settings: Lsh,
    precision: Precision = FULL,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Float[Array, "B L H K"]:
    """Attends within chunks of tokens sorted by hash bucket, each chunk to itself and its two neighbours.

    Args:
      qk: [B, L, H, K] shared queries and keys (the keys are not normalised).
      v: [B, L, H, K] values.
      lengths: [B] number of real tokens of each row.
      rotations: [R, H, K, buckets / 2] from `draw_rotations`.
      settings: chunk size, masking, how rounds are combined, variant.
      precision: of the products of attention; hashing is float32.
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in qk's dtype; zero at padding.

    Source: Reformer, section 2; `combine: logsumexp` weights the rounds by their partition functions, as in its
    equation for multi-round attention, `mean` gives every round the same weight.
    """
    length = qk.shape[1]
    total = padded_length(length, settings)
    real = (jnp.arange(total) < lengths[:, None])[:, None]
    qk_h, v_h = (
        jnp.where(real[..., None], pad_to_multiple(x.swapaxes(1, 2), total, axis=2), 0).astype(x.dtype) for x in (qk, v)
    )
    hashed = hash_and_sort(qk_h, real, rotations, settings)

    def gather(x):
        taken = jnp.take_along_axis(x[:, None], hashed.order[..., None], axis=-2)
        return cut(taken, settings.chunk_size, axis=-2)

    queries, values = gather(qk_h), with_neighbours(gather(v_h), axis=-3, fill=0)
    keys = with_neighbours(queries, axis=-3, fill=0)
    bias = _mask_scores(hashed, real, settings)
    context, partition = weighted_values(queries, keys, values, bias, dropout_key, dropout_rate, precision)

    def unsort(x):
        return jnp.take_along_axis(x, hashed.inverse[..., None], axis=-2)

    context = unsort(context.reshape(*hashed.order.shape, -1))
    if settings.combine == "mean":
        combined = context.mean(axis=1)
    else:
        partition = unsort(partition.reshape(*hashed.order.shape)[..., None])
        combined = (jax.nn.softmax(partition, axis=1) * context).sum(axis=1)
    combined = jnp.where(real[..., None], combined, 0).astype(qk.dtype)
    return combined[:, :, :length].swapaxes(1, 2)
