"""Exact softmax attention (kind `mha`)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from textclf_jax.model.dropout import dropout

# Added, not selected: a row without any real key then averages all values, and gradients match the reference's
MASKED_SCORE = -1e9


def padding_bias(lengths: Int[Array, " B"], size: int) -> Float[Array, "B S"]:
    """The number to add to scores: 0 at real keys, -1e9 at padding. [B] lengths -> [B, S] float32."""
    return jnp.where(jnp.arange(size) < lengths[:, None], 0.0, MASKED_SCORE).astype(jnp.float32)


def softmax_attention(
    q: Float[Array, "B L H K"],
    k: Float[Array, "B S H K"],
    v: Float[Array, "B S H K"],
    lengths: Int[Array, " B"],
    *,
    implementation: str = "xla",
    dropout_rate: float = 0.0,
    dropout_key: Array | None = None,
) -> Float[Array, "B L H K"]:
    """Attends from every query to every real key with softmax(q k^T / sqrt(K)) v.

    Args:
      q, k, v: [B, L or S, H, K], any float dtype; scores and softmax are float32 or wider.
      lengths: [B] number of real keys of each row; the others are padding.
      implementation: "xla", or "cudnn" for flash attention: bf16 or fp16 on a CUDA device, lengths >= 1, no dropout.
      dropout_rate: of the attention probabilities.
      dropout_key: None in evaluation.

    Returns:
      [B, L, H, K] in q's dtype.

    Source: Vaswani et al. 2017, eq. 1.
    """
    if implementation == "cudnn":
        real = jnp.maximum(lengths, 1).astype(jnp.int32)
        return jax.nn.dot_product_attention(q, k, v, implementation="cudnn", key_value_seq_lengths=real)
    wide = jnp.promote_types(q.dtype, jnp.float32)
    scores = jnp.einsum("blhk,bshk->bhls", q, k, preferred_element_type=wide) * q.shape[-1] ** -0.5
    scores = scores + padding_bias(lengths, k.shape[1])[:, None, None, :]
    weights = dropout(jax.nn.softmax(scores, axis=-1).astype(v.dtype), dropout_rate, dropout_key)
    return jnp.einsum("bhls,bshk->blhk", weights, v)
