"""Exact softmax attention (kind `mha`)."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.attention.blocks import blocks_of_scores
from textclf_jax.model.attention.chunks import cut, pad_to_multiple
from textclf_jax.model.attention.weighting import MASKED_SCORE, Segments, weighted_values
from textclf_jax.model.precision import FULL, Precision


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
    dtype = q.dtype
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    # the same for all heads
    if segments is None:
        bias = padding_bias(lengths, k.shape[2])[:, None, None]
    else:
        bias = Segments(segments.queries[:, None], segments.keys[:, None])

    weighted = functools.partial(weighted_values, dropout_rate=dropout_rate, precision=precision)
    num_scores = math.prod(q.shape[:3]) * k.shape[2]
    if num_scores <= blocks_of_scores().from_scores:
        context, _ = weighted(q, k, v, bias, dropout_key)
    else:
        context = _weighted_in_blocks(weighted, q, k, v, bias, dropout_key)
    return context.astype(dtype).swapaxes(1, 2)


def _weighted_in_blocks(weighted, q, k, v, bias, dropout_key):
    """`weighted_values` for one block of queries, and one head where that is faster, after the other."""
    blocks, length = blocks_of_scores(), q.shape[2]
    scores_of_query = k.shape[2] * (1 if blocks.single_heads else math.prod(q.shape[:2]))
    size = min(max(blocks.scores // scores_of_query // 64 * 64, 64), length)

    # where the blocks' axis goes: what comes before it takes turns, too
    place = 2 if blocks.single_heads else 0

    def cut_queries(x):
        return jnp.moveaxis(cut(pad_to_multiple(x, size, 2), size, 2), 2, place)

    k, v, keys = (jnp.expand_dims(x, place) for x in (k, v, bias.keys if isinstance(bias, Segments) else bias))
    bias = Segments(cut_queries(bias.queries), keys) if isinstance(bias, Segments) else keys
    context, _ = weighted(cut_queries(q), k, v, bias, dropout_key, turns=place + 1)
    return jnp.moveaxis(context, place, 2).reshape(*q.shape[:2], -1, q.shape[3])[:, :, :length]
