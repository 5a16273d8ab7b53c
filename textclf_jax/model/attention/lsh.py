"""Locality-sensitive hashing attention (kind `lsh`; Kitaev et al. 2020, Reformer)."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from textclf_jax.config.schema import Lsh
from textclf_jax.kernels.attention import MASKED_SCORE, attention
from textclf_jax.kernels.precision import FULL, Precision
from textclf_jax.model.attention.chunks import cut, pad_to_multiple, with_neighbours
from textclf_jax.model.attention.inputs import Inputs

# A token attends to itself only where nothing else is allowed: far below any score, far above MASKED_SCORE
SELF_SCORE = -1e5
EVALUATION_SEED = 0


def attend(q, k, v, inputs: Inputs) -> Float[Array, "B L H K"]:
    """Kind `lsh`: within hash buckets; queries and keys are the same."""
    del k
    attend_in_buckets = functools.partial(lsh_attention, settings=inputs.attention.lsh)
    rotations = _rotations(inputs, q.shape[1])
    return inputs.attend_on_each_shard(attend_in_buckets, (q, v, inputs.lengths), (rotations,))


def _rotations(inputs: Inputs, length: int) -> Float[Array, "R H K N"]:
    """Drawn for each step of training, fixed in evaluation, or given as the variable "rotations"."""
    module: Any = inputs.module
    if module.has_variable("hashing", "rotations"):
        return module.get_variable("hashing", "rotations")
    config, settings = module.config, inputs.attention.lsh
    fixed = jax.random.fold_in(jax.random.key(EVALUATION_SEED), module.layer)
    key = module.make_rng("hashing") if inputs.train else fixed
    buckets = num_buckets(padded_length(length, settings), config.max_sequence_length, settings)
    return draw_rotations(key, config.attention.num_heads, config.head_dim, buckets, settings)


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
    projected = jnp.einsum("bhlk,rhkn->bhlrn", qk, rotations, precision=FULL.of_dot)
    codes = jnp.argmax(jnp.concatenate([projected, -projected], axis=-1), axis=-1)
    pad_code = -1 if settings.variant == "reference" else 2 * rotations.shape[-1]
    codes = jnp.moveaxis(jnp.where(real[..., None], codes, pad_code), 3, 1)
    order = stable_order(codes + 1, 2 * rotations.shape[-1] + 2)
    places = jnp.arange(order.shape[-1])
    inverse = jnp.put_along_axis(jnp.zeros_like(order), order, places, axis=-1, inplace=False)
    return HashedOrder(codes, order, inverse)


def stable_order(codes: Int[Array, "*N L"], num_codes: int) -> Int[Array, "*N L"]:
    """The places of codes in [0, num_codes), sorted by (code, place)."""
    length = codes.shape[-1]
    if num_codes * length > jnp.iinfo(jnp.int32).max:
        return jnp.argsort(codes, axis=-1, stable=True)
    # both in one number sort faster
    return jnp.sort(codes * length + jnp.arange(length), axis=-1) % length


def _three_chunks(x: Float[Array, "... N c K"]) -> Float[Array, "... N 3*c K"]:
    """Puts each chunk between its two neighbours. The other axes are kept."""
    return with_neighbours(x, axis=-3, fill=0)


class SortedTokens(struct.PyTreeNode):
    """What decides which tokens of a chunk and its neighbours see each other. Arrays are sorted, all [B, R, H, N, c].

    Attributes:
      places: before they were sorted.
      codes: their buckets.
      real: whether they are no padding.
      settings: masking and variant.
    """

    places: Int[Array, "B R H N c"]
    codes: Int[Array, "B R H N c"]
    real: Bool[Array, "B R H N c"]
    settings: Lsh = struct.field(pytree_node=False)

    def bias(self) -> Float[Array, "B R H N c 3*c"]:
        """The numbers to add to the scores of each chunk's queries against the keys of three chunks."""
        forbidden = ~with_neighbours(self.real, axis=-2, fill=False)[..., None, :]
        if self.settings.mask_within_chunks:
            forbidden |= self.codes[..., :, None] != with_neighbours(self.codes, axis=-2, fill=-1)[..., None, :]
        itself = self.places[..., :, None] == with_neighbours(self.places, axis=-2, fill=-1)[..., None, :]
        self_score = MASKED_SCORE if self.settings.variant == "reference" else SELF_SCORE
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
    queries, values = (_sorted_chunks(x[:, None], hashed.order[..., None], settings) for x in (qk_h, v_h))
    context, partition = attention(
        queries,
        queries,
        values,
        _sorted_tokens(hashed, real, settings),
        precision=precision,
        dropout_rate=dropout_rate,
        dropout_key=dropout_key,
        head_axes=3,
        expand=_three_chunks,
    )
    combined = jnp.where(real[..., None], _combine_rounds(context, partition, hashed, settings), 0)
    return combined[:, :, :length].astype(qk.dtype).swapaxes(1, 2)


def _sorted_chunks(x, order, settings: Lsh):
    """Puts x [B, 1 or R, H, L', ...] into an order [B, R, H, L', ...], and cuts it into chunks."""
    return cut(jnp.take_along_axis(x, order, axis=3), settings.chunk_size, axis=3)


def _sorted_tokens(hashed: HashedOrder, real: Bool[Array, "B 1 L"], settings: Lsh) -> SortedTokens:
    real = jnp.broadcast_to(real[:, None], hashed.codes.shape)
    codes, real = (_sorted_chunks(x, hashed.order, settings) for x in (hashed.codes, real))
    return SortedTokens(cut(hashed.order, settings.chunk_size, axis=3), codes, real, settings)


def _combine_rounds(context, partition, hashed: HashedOrder, settings: Lsh) -> Float[Array, "B H L K"]:
    """The mean over rounds of contexts [B, R, H, N, c, K], or their mean weighted by partition functions."""

    def unsorted(x):
        x = x.reshape(*hashed.order.shape, -1)
        return jnp.take_along_axis(x, hashed.inverse[..., None], axis=-2)

    context, rounds = unsorted(context), context.shape[1]
    weights = jnp.full((1, rounds, 1, 1, 1), 1 / rounds, context.dtype)
    if settings.combine == "logsumexp":
        weights = jax.nn.softmax(unsorted(partition), axis=1)
    # round by round: XLA on CPU sums slowly over them
    return sum((weights[:, r] * context[:, r] for r in range(rounds)), jnp.zeros((), context.dtype))
