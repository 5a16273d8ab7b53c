"""Exact softmax attention (kind `mha`)."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.attention.chunks import cut, pad_to_multiple
from textclf_jax.model.attention.weighting import MASKED_SCORE, Segments, blocks_of_scores, in_turns, weighted_values
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

    num_scores = math.prod(q.shape[:3]) * k.shape[2]
    are_few = num_scores <= blocks_of_scores().from_scores

    def attend(q, k, v, bias, key):
        weighted = weighted_values(q, k, v, bias, key, dropout_rate, precision, keeps_weights=are_few)
        return weighted[0].astype(dtype)

    if not are_few:
        attend = functools.partial(_attend_in_blocks, attend)
    return in_turns(attend, (q, k, v, bias), dropout_key, heads=q.shape[:2], num_scores=num_scores).swapaxes(1, 2)


def _attend_in_blocks(attend, q, k, v, bias, key):
    """`attend` for one block of queries after the other. q, k, v: [..., L or S, K]; bias: [..., 1 or L]."""
    length = q.shape[-2]
    fitting = blocks_of_scores().scores // (math.prod(q.shape[:-2]) * k.shape[-2])
    if fitting >= length:
        return attend(q, k, v, bias, key)
    size = max(fitting // 64 * 64, 64)

    def cut_queries(x, axis):
        return jnp.moveaxis(cut(pad_to_multiple(x, size, axis), size, axis), axis - 1, 0)

    queries = cut_queries(q, -2)
    keys = None if key is None else jax.random.split(key, len(queries))
    texts = cut_queries(bias.queries, -1) if isinstance(bias, Segments) else None

    def attend_block(block):
        queries, texts, key = block
        return attend(queries, k, v, bias if texts is None else Segments(texts, bias.keys), key)

    context = jnp.moveaxis(jax.lax.map(attend_block, (queries, texts, keys)), 0, -3)
    return context.reshape(*q.shape[:-2], -1, q.shape[-1])[..., :length, :]
