"""Exact softmax attention (kind `mha`)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.attention.chunks import cut, pad_to_multiple
from textclf_jax.model.attention.weighting import MASKED_SCORE, Segments, weighted_values
from textclf_jax.model.precision import FULL, Precision

# Scores held at a time; more of them are computed for a block of queries after the other
SCORES_AT_ONCE = {"cpu": 2**24, "gpu": 2**28}


def padding_bias(lengths: Int[Array, " B"], size: int) -> Float[Array, "B S"]:
    """The number to add to scores: 0 at real keys, -1e9 at padding. [B] lengths -> [B, S] float32."""
    return jnp.where(jnp.arange(size) < lengths[:, None], 0.0, MASKED_SCORE).astype(jnp.float32)


def softmax_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H K"],
    lengths: Int[Array, " B"],
    *,
    segments: Segments | None = None,
    implementation: str = "xla",
    precision: Precision = FULL,
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Float[Array, "B L H K"]:
    """Attends from every query to every real key with softmax(q k^T / sqrt(K)) v.

    Memory is linear in L: long sequences are handled a block of queries at a time.

    Args:
      q, k, v: [B, L or S, H, K], any float dtype; scores and softmax are float32 or wider.
      lengths: [B] number of real keys of each row; the others are padding.
      segments: [B, L] and [B, S] the text of each query and key, where rows hold several; `lengths` are not used then.
      implementation: "xla", or "cudnn" for flash attention: bf16 or fp16 on a CUDA device, lengths >= 1, no dropout.
      precision: of the two products.
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in q's dtype.

    Source: Vaswani et al. 2017, eq. 1.
    """
    if implementation == "cudnn":
        real = jnp.maximum(lengths, 1).astype(jnp.int32)
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn", key_value_seq_lengths=real)
    dtype, length = q.dtype, q.shape[1]
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    # [B, 1, L], the same for all heads
    text_of_query = None if segments is None else segments.queries[:, None]

    def attend(queries, text_of_query, key):
        if segments is None:
            bias = padding_bias(lengths, k.shape[2])[:, None, None]
        else:
            bias = Segments(text_of_query, segments.keys[:, None])
        return weighted_values(queries, k, v, bias, key, dropout_rate, precision)[0].astype(dtype)

    size = _block_size(q.shape, k.shape[2])
    if size >= length:
        return attend(q, text_of_query, dropout_key).swapaxes(1, 2)

    def blocks_of(x):
        return None if x is None else jnp.moveaxis(cut(pad_to_multiple(x, size, axis=2), size, axis=2), 2, 0)

    count = -(-length // size)
    keys = None if dropout_key is None else jax.random.split(dropout_key, count)
    context = jax.lax.map(lambda block: attend(*block), (blocks_of(q), blocks_of(text_of_query), keys))
    return jnp.moveaxis(context, 0, 2).reshape(*q.shape[:2], -1, q.shape[3])[:, :, :length].swapaxes(1, 2)


def _block_size(shape: tuple[int, ...], num_keys: int) -> int:
    """Queries of q [B, H, L, K] whose scores are few enough to be held at once; a multiple of 64 below L."""
    batch, heads, length, _ = shape
    limit = SCORES_AT_ONCE["gpu" if jax.default_backend() == "gpu" else "cpu"]
    fitting = limit // (batch * heads * num_keys)
    return length if fitting >= length else max(fitting // 64 * 64, 64)
